//! What is asked, and what of it the client is given.

use std::time::Duration;

use leyden_client::{
    Client, ClientBuilder, GenerateRequest, OutputFormat, PreviewOptions, Tls, WatchRequest,
};
use serde::Deserialize;

pub(crate) type AnyError = Box<dyn std::error::Error>;

/// One ask. What is absent is not given to the client at all.
#[derive(Deserialize)]
pub(crate) struct Ask {
    pub(crate) name: Option<String>,
    target: String,
    tls: Option<TlsFiles>,
    api_key: Option<String>,
    traceparent: Option<String>,
    pub(crate) call: String,
    #[serde(default)]
    pub(crate) request: Asked,
    #[serde(default)]
    options: Options,
    after_event_index: Option<i64>,
    pub(crate) leave: Option<Leave>,
    #[serde(default)]
    pause_ms: u64,
    pub(crate) misspelt: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) streams: usize,
    #[serde(default)]
    pub(crate) requests: usize,
}

/// PEM files.
#[derive(Deserialize)]
struct TlsFiles {
    ca: Option<String>,
    certificate: Option<String>,
    private_key: Option<String>,
}

/// The fields of a request.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    prompt: Option<String>,
    pub(crate) model: Option<String>,
    negative_prompt: Option<String>,
    /// In decimal, so that no bit is lost on the way.
    seed: Option<String>,
    num_inference_steps: Option<i32>,
    width_px: Option<i32>,
    height_px: Option<i32>,
    guidance_scale: Option<f32>,
    image_count: Option<i32>,
    output_format: Option<String>,
    output_quality: Option<i32>,
    #[serde(default)]
    preview: bool,
    pub(crate) request_id: Option<String>,
    priority: Option<i32>,
}

/// The client's own options.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    timeout_s: Option<f64>,
    linger_s: Option<f64>,
}

/// When the events are left, and how.
#[derive(Deserialize)]
pub(crate) struct Leave {
    pub(crate) by: String,
    pub(crate) after: String,
    pub(crate) count: usize,
}

impl Ask {
    /// Makes the client that is asked for.
    pub(crate) fn client(&self) -> Result<Client, AnyError> {
        let mut builder: ClientBuilder = Client::builder(&self.target);
        if let Some(files) = &self.tls {
            builder = builder.tls(files.tls()?);
        }
        if let Some(api_key) = &self.api_key {
            builder = builder.api_key(api_key);
        }
        let client = builder.build()?;
        match &self.traceparent {
            Some(traceparent) => Ok(client.with_metadata("traceparent", traceparent)?),
            None => Ok(client),
        }
    }

    /// Writes the request as the client takes it.
    pub(crate) fn generate_request(&self) -> Result<GenerateRequest, AnyError> {
        let asked = &self.request;
        let mut request = GenerateRequest::new(asked.prompt.clone().unwrap_or_default());
        if let Some(model) = &asked.model {
            request = request.model(model);
        }
        if let Some(negative_prompt) = &asked.negative_prompt {
            request = request.negative_prompt(negative_prompt);
        }
        if let Some(seed) = &asked.seed {
            request = request.seed(seed.parse()?);
        }
        if let Some(steps) = asked.num_inference_steps {
            request = request.num_inference_steps(steps);
        }
        if let Some(width_px) = asked.width_px {
            request = request.width_px(width_px);
        }
        if let Some(height_px) = asked.height_px {
            request = request.height_px(height_px);
        }
        if let Some(guidance_scale) = asked.guidance_scale {
            request = request.guidance_scale(guidance_scale);
        }
        if let Some(image_count) = asked.image_count {
            request = request.image_count(image_count);
        }
        if let Some(name) = &asked.output_format {
            request = request.output_format(output_format(name)?);
        }
        if let Some(output_quality) = asked.output_quality {
            request = request.output_quality(output_quality);
        }
        if asked.preview {
            request = request.preview(PreviewOptions::new());
        }
        if let Some(request_id) = &asked.request_id {
            request = request.request_id(request_id);
        }
        if let Some(priority) = asked.priority {
            request = request.priority(priority);
        }
        if let Some(timeout) = self.timeout() {
            request = request.timeout(timeout);
        }
        if let Some(linger_s) = self.options.linger_s {
            request = request.linger(Duration::try_from_secs_f64(linger_s)?);
        }
        Ok(request)
    }

    /// Writes what to watch as the client takes it.
    pub(crate) fn watch_request(&self) -> WatchRequest {
        let mut watch = WatchRequest::new(self.request.request_id.clone().unwrap_or_default());
        if let Some(event_index) = self.after_event_index {
            watch = watch.after_event_index(event_index);
        }
        if let Some(timeout) = self.timeout() {
            watch = watch.timeout(timeout);
        }
        watch
    }

    /// How long to wait between two events.
    pub(crate) fn pause(&self) -> Option<Duration> {
        (self.pause_ms > 0).then(|| Duration::from_millis(self.pause_ms))
    }

    /// How long the call may take.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.options.timeout_s.map(Duration::from_secs_f64)
    }
}

impl TlsFiles {
    fn tls(&self) -> Result<Tls, AnyError> {
        let mut tls = Tls::new();
        if let Some(ca) = &self.ca {
            tls = tls.ca_certificate(std::fs::read(ca)?);
        }
        if let (Some(certificate), Some(private_key)) = (&self.certificate, &self.private_key) {
            tls = tls.identity(std::fs::read(certificate)?, std::fs::read(private_key)?);
        }
        Ok(tls)
    }
}

fn output_format(name: &str) -> Result<OutputFormat, AnyError> {
    match name {
        "PNG" => Ok(OutputFormat::Png),
        "JPEG" => Ok(OutputFormat::Jpeg),
        "WEBP" => Ok(OutputFormat::WebP),
        other => Err(format!("no such format: {other}").into()),
    }
}
