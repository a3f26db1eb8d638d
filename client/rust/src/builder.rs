//! How a client connects.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Endpoint;

use crate::auth::{Metadata, append};
use crate::client::Client;
use crate::error::Error;
use crate::tls::Tls;

const USER_AGENT: &str = concat!("leyden-rust/", env!("CARGO_PKG_VERSION"));
/// How long a try to connect may take; gRPC's own figure.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
// A server that vanished is noticed within 30 s, however long a stream is silent. Leyden's Gateway
// allows a ping every 5 s; a gRPC server that is not told so refuses under 5 minutes.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// Says how a [`Client`] connects. Made by [`Client::builder`].
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use leyden_client::{Client, Tls};
///
/// let client = Client::builder("images.example.org:8001")
///     .tls(Tls::new())
///     .api_key(std::env::var("LEYDEN_API_KEY")?)
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    target: String,
    tls: Option<Tls>,
    api_key: Option<ApiKey>,
    metadata: Vec<(String, String)>,
}

impl ClientBuilder {
    pub(crate) fn new(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            tls: None,
            api_key: None,
            metadata: Vec::new(),
        }
    }

    /// Speaks TLS. Without it: plaintext.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// An API key that goes with every call; over a network rather with TLS, or everybody on the
    /// way reads it.
    pub fn api_key(mut self, api_key: impl Into<String>) -> Self {
        self.api_key = Some(ApiKey(api_key.into()));
        self
    }

    /// Metadata that goes with every call, such as a proxy may ask for.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Makes the client, which connects at its first call, and anew where a connection broke.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] where the target, the key, the metadata or a PEM cannot be, and
    /// outside of a tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        let metadata = Metadata(Arc::new(self.metadata_of_calls()?));
        let runtime = Handle::try_current().map_err(|error| {
            Error::InvalidInput(format!("a client needs a tokio runtime: {error}"))
        })?;
        let channel = self.endpoint()?.connect_lazy();
        Ok(Client::over(channel, metadata, runtime))
    }

    fn endpoint(self) -> Result<Endpoint, Error> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let wrong = |error: &dyn std::error::Error| {
            Error::InvalidInput(format!("{}: {}", self.target, with_causes(error)))
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.target))
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(|error| wrong(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_TIME)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        match self.tls {
            None => Ok(endpoint),
            Some(ref tls) => endpoint
                .tls_config(tls.clone().config()?)
                .map_err(|error| wrong(&error)),
        }
    }

    fn metadata_of_calls(&self) -> Result<MetadataMap, Error> {
        let mut all = MetadataMap::new();
        for (key, value) in &self.metadata {
            append(&mut all, key, value)?;
        }
        if let Some(api_key) = &self.api_key {
            all.insert("authorization", api_key.header()?);
        }
        Ok(all)
    }
}

/// An API key, which no log shows.
#[derive(Clone)]
struct ApiKey(String);

impl ApiKey {
    fn header(&self) -> Result<AsciiMetadataValue, Error> {
        // The text does not show it.
        let wrong =
            || Error::InvalidInput("api_key must be one word of printable ASCII characters".into());
        if self.0.is_empty() || !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        let header = format!("Bearer {}", self.0);
        let mut header = AsciiMetadataValue::try_from(header).map_err(|_| wrong())?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// tonic's errors say what went wrong in their sources alone.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(builder: ClientBuilder) -> String {
        match builder.build() {
            Err(Error::InvalidInput(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_before_anything_is_sent() {
        let builder = || Client::builder("127.0.0.1:1");
        for key in ["", "two words", "schlüssel", "line\nbreak"] {
            let words = refusal(builder().api_key(key));
            assert!(words.starts_with("api_key must be"), "{words}");
            assert!(key.is_empty() || !words.contains(key), "{words}");
        }
        refusal(builder().metadata("not a key", "value"));
        refusal(Client::builder("not a target"));
        let words = refusal(builder().tls(Tls::new().ca_certificate("no PEM")));
        assert!(words.starts_with("ca_certificate is not a PEM"), "{words}");
        builder().api_key("ley_key").build().unwrap();
    }

    #[test]
    fn a_client_outside_of_a_runtime_is_an_error_and_no_panic() {
        let words = refusal(Client::builder("127.0.0.1:1"));
        assert!(
            words.starts_with("a client needs a tokio runtime"),
            "{words}"
        );
    }

    #[test]
    fn a_key_is_not_shown() {
        let builder = Client::builder("127.0.0.1:1").api_key("ley_secret");
        assert!(!format!("{builder:?}").contains("secret"));
    }
}
