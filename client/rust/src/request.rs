//! What a client asks for.

use std::time::Duration;

use crate::error::Error;
use crate::options::{OutputFormat, Solver};
use crate::pb;

/// For how long a generation outlives a broken connection, unless told otherwise.
pub(crate) const LINGER: Duration = Duration::from_secs(15);

/// For how long a generation goes on that was started to be left alone.
const DETACHED_LINGER: Duration = Duration::from_secs(600);

/// Asks for images. What is not set is the model's default.
///
/// The server is the one that judges the values: one that is out of range ends the generation with
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument), which names the field and what is
/// allowed.
///
/// ```
/// use std::time::Duration;
/// use leyden_client::{GenerateRequest, OutputFormat};
///
/// let request = GenerateRequest::new("a lighthouse at dusk")
///     .seed(9_007_199_254_740_991)
///     .num_inference_steps(4)
///     .output_format(OutputFormat::WebP)
///     .timeout(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct GenerateRequest {
    message: pb::GenerateImageRequest,
    linger: Option<Duration>,
    timeout: Option<Duration>,
}

impl GenerateRequest {
    /// Asks for one image of `prompt`, of at most 4,096 characters.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            message: pb::GenerateImageRequest {
                prompt: prompt.into(),
                ..Default::default()
            },
            linger: None,
            timeout: None,
        }
    }

    /// Name of the model. Without it: the server's default model.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.message.model = model.into();
        self
    }

    /// What not to show; it has an effect only where `guidance_scale` is above 1.
    pub fn negative_prompt(mut self, negative_prompt: impl Into<String>) -> Self {
        self.message.negative_prompt = negative_prompt.into();
        self
    }

    /// Seed of the first image; image i has seed + i. At least 0, and at most 2^53 less the number
    /// of images. Without it: drawn by this client, and reported with each image.
    pub fn seed(mut self, seed: i64) -> Self {
        self.message.seed = Some(seed);
        self
    }

    /// Width in pixels. Without it, or 0: the model's native width.
    pub fn width_px(mut self, width_px: i32) -> Self {
        self.message.width_px = width_px;
        self
    }

    /// Height in pixels. Without it, or 0: the model's native height.
    pub fn height_px(mut self, height_px: i32) -> Self {
        self.message.height_px = height_px;
        self
    }

    /// Number of denoise steps. Without it, or 0: the model's default.
    pub fn num_inference_steps(mut self, num_inference_steps: i32) -> Self {
        self.message.num_inference_steps = num_inference_steps;
        self
    }

    /// Classifier-free guidance scale; off at or below 1. Without it: the model's default.
    pub fn guidance_scale(mut self, guidance_scale: f32) -> Self {
        self.message.guidance_scale = Some(guidance_scale);
        self
    }

    /// Rule of a denoise step. Without it: the model's default.
    pub fn solver(mut self, solver: Solver) -> Self {
        self.message.set_solver(solver.to_wire());
        self
    }

    /// Number of images. Without it, or 0: 1.
    pub fn image_count(mut self, image_count: i32) -> Self {
        self.message.image_count = image_count;
        self
    }

    /// Encoding of the images. Without it: PNG.
    pub fn output_format(mut self, output_format: OutputFormat) -> Self {
        self.message.set_output_format(output_format.to_wire());
        self
    }

    /// Quality of a JPEG or WebP, 1 to 100; not allowed with PNG. Without it, or 0: 90.
    pub fn output_quality(mut self, output_quality: i32) -> Self {
        self.message.output_quality = output_quality;
        self
    }

    /// Asks for previews with the denoise progress. Without it: none.
    pub fn preview(mut self, preview: PreviewOptions) -> Self {
        self.message.preview = Some(preview.message);
        self
    }

    /// Name of the generation, unused by any other: 1 to 128 of letters, digits, `.`, `_`, `:` and
    /// `-`. Without it: a UUID that this client draws. Who knows it may watch and cancel.
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.message.request_id = request_id.into();
        self
    }

    /// How soon it is served: 1 (first) to 9 (last). Without it, or 0: 5.
    pub fn priority(mut self, priority: i32) -> Self {
        self.message.priority = (priority != 0).then_some(priority);
        self
    }

    /// For how long the generation goes on when its connection breaks, and for how long this client
    /// tries to come back to it. Zero: a broken connection is an error at once, and the server ends
    /// the generation. Without it: 15 seconds; with a [`timeout`](Self::timeout) the server is told
    /// zero all the same.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Deadline of the whole, from the first event that is waited for. Without it: none.
    ///
    /// A server looks at a deadline only where nothing lingers. So a timeout without a
    /// [`linger`](Self::linger) sends a linger of zero: the server refuses at once what it cannot
    /// end in time and serves earlier deadlines first, and a broken connection runs the generation
    /// again. With both, nothing is refused early.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Makes it one whose generation is left alone.
    pub(crate) fn detached(mut self) -> Result<Self, Error> {
        let linger = *self.linger.get_or_insert(DETACHED_LINGER);
        if linger.is_zero() {
            return Err(Error::InvalidInput(
                "the linger is zero; a generation that is left needs more".into(),
            ));
        }
        Ok(self)
    }

    /// Makes it one that can be sent again: with an id and a seed, drawn where not given.
    pub(crate) fn repeatable(self) -> Repeatable {
        let Self {
            mut message,
            linger,
            timeout,
        } = self;
        let id_is_ours = message.request_id.is_empty();
        if id_is_ours {
            message.request_id = uuid::Uuid::new_v4().to_string();
        }
        message.seed.get_or_insert_with(drawn_seed);
        let told = linger.or_else(|| timeout.is_none().then_some(LINGER));
        message.linger_duration = told.filter(|linger| !linger.is_zero()).map(wire_duration);
        Repeatable {
            message,
            id_is_ours,
            reattach: linger.unwrap_or(LINGER),
            timeout,
        }
    }
}

/// Writes a duration; one that does not fit is the longest, which the server refuses.
fn wire_duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

/// A request as it is sent, as often as it takes.
pub(crate) struct Repeatable {
    pub(crate) message: pb::GenerateImageRequest,
    /// Whether the id was drawn, so that nobody else has it.
    pub(crate) id_is_ours: bool,
    /// For how long a broken connection is taken up again.
    pub(crate) reattach: Duration,
    pub(crate) timeout: Option<Duration>,
}

/// Draws a seed as the server does: below 2^32, short enough to be typed in again.
fn drawn_seed() -> i64 {
    // A UUID of version 4, drawn for the id, needs the same source of randomness.
    i64::from(getrandom::u32().expect("the operating system gives random numbers"))
}

/// Asks for previews with the denoise progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct PreviewOptions {
    message: pb::PreviewOptions,
}

impl PreviewOptions {
    /// Asks for a JPEG at every step, with one pixel for each latent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Longer side in pixels, at most 1,024. Without it, or 0: one pixel for each latent.
    pub fn size_px(mut self, size_px: i32) -> Self {
        self.message.size_px = size_px;
        self
    }

    /// A preview every so many steps, counted back from the last. Without it, or 0: every step.
    pub fn every_steps(mut self, every_steps: i32) -> Self {
        self.message.every_steps = every_steps;
        self
    }

    /// Encoding. Without it: JPEG.
    pub fn format(mut self, format: OutputFormat) -> Self {
        self.message.set_format(format.to_wire());
        self
    }
}

/// Asks to watch a generation that was started before.
///
/// ```
/// use leyden_client::WatchRequest;
///
/// let all = WatchRequest::new("lake-7c1f");
/// let rest = WatchRequest::new("lake-7c1f").after_event_index(3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct WatchRequest {
    pub(crate) request_id: String,
    pub(crate) after_event_index: Option<i64>,
    pub(crate) timeout: Option<Duration>,
}

impl WatchRequest {
    /// Watches the generation of that id, from its first event.
    pub fn new(request_id: impl Into<String>) -> Self {
        Self {
            request_id: request_id.into(),
            after_event_index: None,
            timeout: None,
        }
    }

    /// Only the events after this one, which is known already.
    pub fn after_event_index(mut self, event_index: i64) -> Self {
        self.after_event_index = Some(event_index);
        self
    }

    /// Deadline of the watching, from the first event that is waited for. Without it: none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl From<&str> for WatchRequest {
    fn from(request_id: &str) -> Self {
        Self::new(request_id)
    }
}

impl From<String> for WatchRequest {
    fn from(request_id: String) -> Self {
        Self::new(request_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_and_a_seed_are_drawn_where_not_given() {
        let drawn = GenerateRequest::new("a lake").repeatable();
        let other = GenerateRequest::new("a lake").repeatable();
        assert!(drawn.id_is_ours);
        assert_eq!(drawn.message.request_id.len(), 36);
        assert_ne!(drawn.message.request_id, other.message.request_id);
        assert!((0..1 << 32).contains(&drawn.message.seed.unwrap()));
        assert_ne!(drawn.message.seed, other.message.seed);

        let given = GenerateRequest::new("a lake")
            .request_id("lake-7c1f")
            .seed(0)
            .repeatable();
        assert!(!given.id_is_ours);
        assert_eq!(given.message.request_id, "lake-7c1f");
        assert_eq!(given.message.seed, Some(0));
    }

    #[test]
    fn it_lingers_unless_told_otherwise_or_a_deadline_counts() {
        let told = |request: GenerateRequest| {
            let sent = request.repeatable();
            (
                sent.message.linger_duration.map(|d| d.seconds),
                sent.reattach.as_secs(),
            )
        };
        let request = || GenerateRequest::new("a lake");
        let minute = Duration::from_secs(60);
        assert_eq!(told(request()), (Some(15), 15));
        assert_eq!(told(request().linger(Duration::ZERO)), (None, 0));
        assert_eq!(told(request().timeout(minute)), (None, 15));
        assert_eq!(
            told(request().timeout(minute).linger(minute)),
            (Some(60), 60)
        );
    }
}
