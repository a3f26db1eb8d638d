//! What goes with every call.

use std::sync::Arc;

use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::error::Error;
use crate::pb::image_generation_service_client::ImageGenerationServiceClient;
use crate::pb::model_service_client::ModelServiceClient;

pub(crate) type Transport = InterceptedService<Channel, Metadata>;
pub(crate) type Images = ImageGenerationServiceClient<Transport>;
pub(crate) type Models = ModelServiceClient<Transport>;

/// The metadata of every call: the API key, and what the builder was given.
#[derive(Clone, Debug)]
pub(crate) struct Metadata(pub(crate) Arc<MetadataMap>);

impl Metadata {
    /// Returns the same with one entry more, or [`Error::InvalidInput`].
    pub(crate) fn with(&self, key: &str, value: &str) -> Result<Self, Error> {
        let mut all = (*self.0).clone();
        append(&mut all, key, value)?;
        Ok(Self(Arc::new(all)))
    }
}

/// Adds an entry, or says that it cannot be sent.
pub(crate) fn append(all: &mut MetadataMap, key: &str, value: &str) -> Result<(), Error> {
    let wrong = || Error::InvalidInput(format!("metadata {key} cannot be sent"));
    let name: AsciiMetadataKey = key.parse().map_err(|_| wrong())?;
    all.append(name, value.parse().map_err(|_| wrong())?);
    Ok(())
}

impl Interceptor for Metadata {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for entry in self.0.iter() {
            if let tonic::metadata::KeyAndValueRef::Ascii(key, value) = entry {
                request.metadata_mut().append(key, value.clone());
            }
        }
        Ok(request)
    }
}
