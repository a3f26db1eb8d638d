//! What a generation reports: its events in their order, and the whole at its end.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::options::{OutputFormat, Solver};

/// An event of a generation.
///
/// A generation that succeeds has them in this order:
///
/// | event | |
/// |---|---|
/// | [`Queued`](Self::Queued) | zero or more, until the first `DenoiseProgress` |
/// | [`TextEncoded`](Self::TextEncoded) | once, before the first `DenoiseProgress` |
/// | [`DenoiseProgress`](Self::DenoiseProgress) | for each image once a step; those of different images may interleave |
/// | [`Image`](Self::Image) | once for each image, whole, after its last `DenoiseProgress` |
/// | [`Summary`](Self::Summary) | once, and last |
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The request was accepted and waits for the denoiser.
    Queued(Queued),
    /// The prompt is encoded.
    TextEncoded(TextEncoded),
    /// A denoise step of one image ended.
    DenoiseProgress(DenoiseProgress),
    /// An image is ready; it is always whole, however it travelled.
    Image(Image),
    /// The generation is done.
    Summary(Summary),
}

impl Event {
    /// Returns the index of this event in the server's stream; of an image in chunks, its last
    /// chunk's. [`WatchRequest::after_event_index`](crate::WatchRequest::after_event_index) takes
    /// it.
    #[must_use]
    pub fn index(&self) -> i64 {
        match self {
            Self::Queued(event) => event.event_index,
            Self::TextEncoded(event) => event.event_index,
            Self::DenoiseProgress(event) => event.event_index,
            Self::Image(event) => event.event_index,
            Self::Summary(event) => event.event_index,
        }
    }
}

/// The request was accepted and waits for the denoiser.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queued {
    /// Index of this event in the server's stream.
    pub event_index: i64,
    /// Number of images of earlier requests that wait too; 0: none. One with an earlier deadline
    /// may start before its turn.
    pub position: i32,
    /// Expected time until the first denoise step. `None`: nothing is known yet.
    pub expected_wait: Option<Duration>,
}

/// The prompt is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextEncoded {
    /// Index of this event in the server's stream.
    pub event_index: i64,
    /// Length of the prompt in tokens, before it was cut.
    pub token_count: i32,
    /// Whether the prompt was cut at the text encoder's length.
    pub truncated: bool,
}

/// A denoise step of one image ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DenoiseProgress {
    /// Index of this event in the server's stream.
    pub event_index: i64,
    /// Index of the image, from 0.
    pub image_index: i32,
    /// The step that ended, from 1 to `total_steps`.
    pub step: i32,
    /// Number of denoise steps of this image.
    pub total_steps: i32,
    /// Training timestep at which this step ran the UNet, from 999 (noise) down to 0.
    pub timestep: f32,
    /// Noise level (standard deviation) at which this step started.
    pub sigma: f32,
    /// Time since the request was accepted.
    pub elapsed: Duration,
    /// Estimated time until this image's last denoise step ends; decoding is not in it.
    pub remaining: Duration,
    /// Rows of the UNet batch that this step shared, this image's own among them.
    pub batch_rows: i32,
    /// A rough picture, where one was asked for at this step and this reader is fast enough.
    pub preview: Option<Preview>,
}

/// A small picture of the denoised latents as estimated now; not a VAE decode.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// The encoded picture.
    pub data: Bytes,
    /// Encoding of `data`.
    pub format: OutputFormat,
    /// Width in pixels.
    pub width_px: i32,
    /// Height in pixels.
    pub height_px: i32,
}

impl fmt::Debug for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preview")
            .field("format", &self.format)
            .field("width_px", &self.width_px)
            .field("height_px", &self.height_px)
            .field("size_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// An image is ready.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// Index of this event in the server's stream; of an image in chunks, its last chunk's.
    pub event_index: i64,
    /// Index of the image, from 0.
    pub image_index: i32,
    /// Seed that gives this image again.
    pub seed: i64,
    /// Encoding of `data`.
    pub format: OutputFormat,
    /// Width in pixels.
    pub width_px: i32,
    /// Height in pixels.
    pub height_px: i32,
    /// The encoded image: what an image file holds.
    pub data: Bytes,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("event_index", &self.event_index)
            .field("image_index", &self.image_index)
            .field("seed", &self.seed)
            .field("format", &self.format)
            .field("width_px", &self.width_px)
            .field("height_px", &self.height_px)
            .field("size_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// The generation is done: what was used, what was ignored, and what it cost.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Index of this event in the server's stream.
    pub event_index: i64,
    /// What was ignored, cut or rounded; empty when all was as asked.
    pub warnings: Vec<RequestWarning>,
    /// Name of the model that ran.
    pub model: String,
    /// What identifies the model's UNet: a digest of its weight files, LoRA and scale.
    pub model_revision: String,
    /// How many times a stage was run again because a replica died.
    pub retries: i32,
    /// Width of the images in pixels.
    pub width_px: i32,
    /// Height of the images in pixels.
    pub height_px: i32,
    /// Number of denoise steps of each image.
    pub num_inference_steps: i32,
    /// The guidance scale that was applied.
    pub guidance_scale: f32,
    /// The rule of a denoise step that was applied.
    pub solver: Solver,
    /// What the generation cost, stage by stage.
    pub bill: Bill,
}

/// Something about a request that its sender should know, though it was served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestWarning {
    /// What kind of warning, in `UPPER_SNAKE_CASE`.
    pub reason: String,
    /// The request's field that the warning is about.
    pub field: String,
    /// The warning in words.
    pub message: String,
}

/// What a generation cost, stage by stage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bill {
    /// From acceptance to the first denoise step's start, less the text encoding.
    pub queue: Duration,
    /// Text encoding.
    pub text_encode: Duration,
    /// From acceptance to the summary.
    pub total: Duration,
    /// Replica that encoded the text.
    pub text_encoder_replica: String,
    /// Gateway replica that served the request.
    pub gateway_replica: String,
    /// The share of each image, in the order of their indices.
    pub images: Vec<ImageBill>,
}

/// What one image cost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageBill {
    /// Index of the image, from 0.
    pub image_index: i32,
    /// The denoise steps, first to last.
    pub steps: Vec<StepBill>,
    /// VAE decode, with the wait for it.
    pub vae_decode: Duration,
    /// Encoding of the pixels as PNG, JPEG or WebP.
    pub image_encode: Duration,
    /// Replica that ran the denoise steps.
    pub denoiser_replica: String,
    /// Replica that decoded and encoded the image.
    pub image_decoder_replica: String,
}

/// What one denoise step cost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepBill {
    /// Time that the step took on the device, for the whole batch.
    pub duration: Duration,
    /// Rows of the UNet batch; padding is not counted.
    pub batch_rows: i32,
}

/// A generation that is done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Generated {
    /// Name of the generation: the one that was given, or that the client drew.
    pub request_id: String,
    /// The images, in the order of their indices.
    pub images: Vec<Image>,
    /// What was used, what was ignored, and what it cost.
    pub summary: Summary,
}

impl Generated {
    pub(crate) fn new(request_id: String, mut images: Vec<Image>, summary: Summary) -> Self {
        images.sort_by_key(|image| image.image_index);
        Self {
            request_id,
            images,
            summary,
        }
    }
}
