//! What was seen.

use std::collections::HashMap;

use leyden_client::{
    Code, Error, Event, GatewayState, Image, OutputFormat, ServerState, StageKind, StageState,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

#[derive(Default, Serialize)]
pub(crate) struct Answer {
    pub(crate) name: Option<String>,
    pub(crate) request_id: Option<String>,
    events: Vec<Seen>,
    images: Vec<SeenImage>,
    summary: Option<SeenSummary>,
    pub(crate) models: Vec<String>,
    pub(crate) state: Option<SeenState>,
    pub(crate) left: Option<String>,
    pub(crate) error: Option<SeenError>,
}

#[derive(Serialize)]
struct Seen {
    kind: &'static str,
    index: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_index: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_steps: Option<i32>,
    /// Of a preview.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
}

#[derive(Serialize)]
struct SeenImage {
    image_index: i32,
    seed: String,
    output_format: &'static str,
    sha256: String,
    bytes: usize,
}

#[derive(Serialize)]
struct SeenSummary {
    model: String,
    warnings: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct SeenState {
    stages: Vec<SeenStage>,
    gateways: Vec<SeenGateway>,
    bottleneck: String,
    bottleneck_reason: String,
}

#[derive(Serialize)]
struct SeenStage {
    name: String,
    kind: &'static str,
    models: Vec<String>,
    running_replicas: i32,
    wanted_replicas: i32,
    running_count: i32,
    waiting_count: i32,
    busy_share: Option<f64>,
    problem: String,
}

#[derive(Serialize)]
struct SeenGateway {
    replica: String,
    uptime_s: f64,
    draining: bool,
    open_stream_count: i32,
    waiting_image_count: i32,
}

#[derive(Serialize)]
pub(crate) struct SeenError {
    r#type: String,
    code: Option<String>,
    reason: String,
    metadata: HashMap<String, String>,
    message: String,
    violations: Vec<SeenViolation>,
    retry_after_s: Option<f64>,
}

#[derive(Serialize)]
struct SeenViolation {
    field: String,
    description: String,
}

impl Answer {
    /// Begins the answer to an ask of that name.
    pub(crate) fn to(name: Option<String>) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Writes down an event, and returns its kind.
    pub(crate) fn record(&mut self, event: Event) -> &'static str {
        let mut seen = Seen {
            kind: "unknown",
            index: event.index(),
            image_index: None,
            step: None,
            num_steps: None,
            bytes: None,
        };
        match event {
            Event::Queued(_) => seen.kind = "queued",
            Event::TextEncoded(_) => seen.kind = "text_encoded",
            Event::DenoiseProgress(progress) => {
                seen.kind = "denoise_progress";
                seen.image_index = Some(progress.image_index);
                seen.step = Some(progress.step);
                seen.num_steps = Some(progress.total_steps);
                seen.bytes = progress.preview.map(|preview| preview.data.len());
            }
            Event::Image(image) => {
                seen.kind = "image";
                seen.image_index = Some(image.image_index);
                self.images.push(SeenImage::of(&image));
            }
            Event::Summary(summary) => {
                seen.kind = "summary";
                self.summary = Some(SeenSummary {
                    model: summary.model,
                    warnings: summary.warnings.into_iter().map(|w| w.reason).collect(),
                });
            }
            _ => {}
        }
        let kind = seen.kind;
        self.events.push(seen);
        kind
    }
}

impl SeenImage {
    fn of(image: &Image) -> Self {
        Self {
            image_index: image.image_index,
            seed: image.seed.to_string(),
            output_format: match image.format {
                OutputFormat::Png => "PNG",
                OutputFormat::Jpeg => "JPEG",
                OutputFormat::WebP => "WEBP",
                _ => "",
            },
            sha256: format!("{:x}", Sha256::digest(&image.data)),
            bytes: image.data.len(),
        }
    }
}

impl SeenState {
    pub(crate) fn of(state: &ServerState) -> Self {
        Self {
            stages: state.stages.iter().map(SeenStage::of).collect(),
            gateways: state.gateways.iter().map(SeenGateway::of).collect(),
            bottleneck: state.bottleneck.clone(),
            bottleneck_reason: state.bottleneck_reason.clone(),
        }
    }
}

impl SeenStage {
    fn of(stage: &StageState) -> Self {
        Self {
            name: stage.name.clone(),
            kind: match stage.kind {
                StageKind::TextEncoder => "TEXT_ENCODER",
                StageKind::Denoiser => "DENOISER",
                StageKind::Vae => "VAE",
                _ => "UNSPECIFIED",
            },
            models: stage.models.clone(),
            running_replicas: stage.running_replicas,
            wanted_replicas: stage.wanted_replicas,
            running_count: stage.running_count,
            waiting_count: stage.waiting_count,
            busy_share: stage.busy_share,
            problem: stage.problem.clone(),
        }
    }
}

impl SeenGateway {
    fn of(gateway: &GatewayState) -> Self {
        Self {
            replica: gateway.replica.clone(),
            uptime_s: gateway.uptime.as_secs_f64(),
            draining: gateway.draining,
            open_stream_count: gateway.open_stream_count,
            waiting_image_count: gateway.waiting_image_count,
        }
    }
}

impl SeenError {
    /// Describes an error of the client, or of what it was to be made of.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let ours = error.downcast_ref::<Error>();
        let failure = ours.and_then(Error::failure);
        Self {
            r#type: match ours {
                Some(ours) => variant_of(ours),
                None if error.is::<tokio::time::error::Elapsed>() => "Elapsed".into(),
                None => "other".into(),
            },
            code: failure.map(|failure| name_of(failure.code)),
            reason: ours.map_or("", Error::reason).into(),
            metadata: failure
                .map(|failure| failure.metadata.clone())
                .unwrap_or_default(),
            message: failure.map_or_else(|| error.to_string(), |failure| failure.message.clone()),
            violations: ours
                .map_or(&[][..], Error::violations)
                .iter()
                .map(|violation| SeenViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after_s: ours
                .and_then(Error::retry_after)
                .map(|after| after.as_secs_f64()),
        }
    }
}

fn variant_of(error: &Error) -> String {
    let shown = format!("{error:?}");
    shown.split('(').next().unwrap_or_default().to_owned()
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn name_of(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
