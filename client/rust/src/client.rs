//! The client, and its calls.

use std::sync::Arc;

use tokio::runtime::Handle;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;

use crate::auth::{Images, Metadata, Models, Transport};
use crate::builder::ClientBuilder;
use crate::error::Error;
use crate::follow::Following;
use crate::generation::Generation;
use crate::leaving::Leaving;
use crate::models::Model;
use crate::request::{GenerateRequest, WatchRequest};
use crate::server_state::ServerState;
use crate::status::error_of;
use crate::watch::Watch;
use crate::{health, pb, wire};

/// Where a server is that was not told otherwise.
pub const DEFAULT_TARGET: &str = "127.0.0.1:8001";

/// Client of one Leyden server. It is cheap to clone, and its clones share one connection.
///
/// Dropping the future of a call cancels the call, so `tokio::time::timeout` is the deadline of
/// those that have none of their own.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    channel: Channel,
    metadata: Metadata,
    images: Images,
    models: Models,
    health: HealthClient<Transport>,
    leaving: Leaving,
}

impl Client {
    /// Makes a client of the server at `target` (host:port), in plaintext. It connects at its
    /// first call.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] where the target cannot be, and outside of a tokio runtime.
    pub fn new(target: impl Into<String>) -> Result<Self, Error> {
        Self::builder(target).build()
    }

    /// Begins a client of the server at `target` (host:port) with TLS, an API key, or metadata.
    pub fn builder(target: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(target)
    }

    pub(crate) fn over(channel: Channel, metadata: Metadata, runtime: Handle) -> Self {
        Self::of(channel, metadata, |images| Leaving::new(images, runtime))
    }

    fn of(channel: Channel, metadata: Metadata, leaving: impl FnOnce(Images) -> Leaving) -> Self {
        let transport = Transport::new(channel.clone(), metadata.clone());
        let images = Images::new(transport.clone());
        Self {
            inner: Arc::new(Inner {
                models: Models::new(transport.clone()),
                health: HealthClient::new(transport),
                leaving: leaving(images.clone()),
                images,
                channel,
                metadata,
            }),
        }
    }

    /// Generates images. Nothing is sent until the [`Generation`] is waited for.
    pub fn generate(&self, request: GenerateRequest) -> Generation {
        let leaving = self.inner.leaving.clone();
        let following = Following::generating(
            self.inner.images.clone(),
            leaving.clone(),
            request.repeatable(),
        );
        Generation::new(following, leaving)
    }

    /// Starts a generation, leaves it to itself, and returns its `request_id`, once the server has
    /// accepted the request.
    ///
    /// It then goes on for as long as it [lingers](GenerateRequest::linger), 10 minutes unless
    /// told otherwise, without being watched, and its events are kept for as long after its end:
    /// [`watch`](Self::watch) gives them. A [timeout](GenerateRequest::timeout) is the deadline of
    /// the acceptance alone.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for a linger of zero, and the other kinds of [`Error`].
    pub async fn start(&self, request: GenerateRequest) -> Result<String, Error> {
        let mut generation = self.generate(request.detached()?);
        match generation.next().await {
            Some(event) => event.map(|_| generation.detach()),
            None => Err(Error::Protocol(
                "a generation ended without an event".into(),
            )),
        }
    }

    /// Watches a generation that was started before, by its `request_id`. Leaving it leaves the
    /// generation as it is.
    pub fn watch(&self, request: impl Into<WatchRequest>) -> Watch {
        let (images, leaving) = (self.inner.images.clone(), self.inner.leaving.clone());
        Watch::new(Following::watching(images, leaving, request.into()))
    }

    /// Ends a generation at once; who watches it gets [`Error::GenerationCancelled`]. One that has ended and
    /// is kept stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::GenerationNotFound`], and the other kinds of [`Error`].
    pub async fn cancel(&self, request_id: &str) -> Result<(), Error> {
        self.inner.leaving.cancel(request_id).await
    }

    /// Returns the server's models, by name, the loaded and the others.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn list_models(&self) -> Result<Vec<Model>, Error> {
        let mut models = self.inner.models.clone();
        let answer = models.list_models(pb::ListModelsRequest {}).await;
        let response = answer.map_err(|status| error_of(&status))?.into_inner();
        Ok(response.models.into_iter().map(wire::model).collect())
    }

    /// Returns the model of that name; empty: the server's default model.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and the other kinds of [`Error`].
    pub async fn get_model(&self, name: &str) -> Result<Model, Error> {
        let mut models = self.inner.models.clone();
        let request = pb::GetModelRequest { model: name.into() };
        let answer = models.get_model(request).await;
        let response = answer.map_err(|status| error_of(&status))?.into_inner();
        Ok(wire::model(response.model.unwrap_or_default()))
    }

    /// Loads a model, and returns it once it is ready; for operators. One that is ready is loaded
    /// anew where its files have changed, and left alone where not. Dropping the future does not
    /// stop the load.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::ModelLoad`], [`Error::NoResources`], [`Error::ModelsManaged`],
    /// and the other kinds of [`Error`].
    pub async fn load_model(&self, name: &str) -> Result<Model, Error> {
        let mut models = self.inner.models.clone();
        let request = pb::LoadModelRequest { model: name.into() };
        let answer = models.load_model(request).await;
        let response = answer.map_err(|status| error_of(&status))?.into_inner();
        Ok(wire::model(response.model.unwrap_or_default()))
    }

    /// Unloads a model, and returns once its stages are gone; for operators. New requests are
    /// refused from the call on, and what was accepted finishes for as long as the server's drain
    /// lasts. Dropping the future does not stop it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::ModelsManaged`], and the other kinds of [`Error`].
    pub async fn unload_model(&self, name: &str) -> Result<(), Error> {
        let mut models = self.inner.models.clone();
        let request = pb::UnloadModelRequest { model: name.into() };
        let answer = models.unload_model(request).await;
        answer.map(drop).map_err(|status| error_of(&status))
    }

    /// Returns what the server does now; for operators.
    ///
    /// # Errors
    ///
    /// [`Error::PermissionDenied`], and the other kinds of [`Error`].
    pub async fn get_server_state(&self) -> Result<ServerState, Error> {
        let mut models = self.inner.models.clone();
        let answer = models.get_server_state(pb::GetServerStateRequest {}).await;
        let response = answer.map_err(|status| error_of(&status))?.into_inner();
        Ok(wire::server_state(response))
    }

    /// Returns a client over the same connection whose calls have this metadata too, such as
    /// `traceparent`: those that take up a broken connection, and that end a generation, as well.
    ///
    /// With OpenTelemetry a propagator injects the current span's into a map, each of whose
    /// entries goes here.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] where key or value cannot be sent.
    pub fn with_metadata(&self, key: &str, value: &str) -> Result<Self, Error> {
        let Inner {
            channel,
            metadata,
            leaving,
            ..
        } = &*self.inner;
        let metadata = metadata.with(key, value)?;
        Ok(Self::of(channel.clone(), metadata, |images| {
            leaving.by(images)
        }))
    }

    /// Waits until the server says that it serves: one that is not there yet, loads or drains is
    /// waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Other`] with the code `UNIMPLEMENTED` where no health service answers, and the
    /// other kinds of [`Error`] that no wait mends.
    pub async fn wait_until_ready(&self) -> Result<(), Error> {
        health::wait_until_serving(self.inner.health.clone()).await
    }

    /// Waits until the server has heard of the generations that were dropped, or cannot be told
    /// within two seconds. For a program that ends, or a runtime.
    pub async fn flush(&self) {
        self.inner.leaving.flush().await;
    }
}
