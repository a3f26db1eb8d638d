//! From the messages of the wire to the types of this crate.

use std::time::Duration;

use bytes::Bytes;

use crate::events::{
    Bill, DenoiseProgress, Image, ImageBill, Preview, Queued, RequestWarning, StepBill, Summary,
    TextEncoded,
};
use crate::models::{Model, ModelState};
use crate::options::{OutputFormat, Solver};
use crate::pb;
use crate::server_state::{GatewayState, ServerState, StageKind, StageState};

// A server newer than this client may send enum values that it does not know; a reply is not
// refused for them: prost's accessors give the unspecified one.

/// Reads a duration; one below zero, which no server sends, is none.
fn duration(message: Option<prost_types::Duration>) -> Duration {
    message
        .and_then(|message| message.try_into().ok())
        .unwrap_or_default()
}

pub(crate) fn queued(event_index: i64, message: pb::Queued) -> Queued {
    Queued {
        event_index,
        position: message.position,
        expected_wait: message
            .expected_wait_duration
            .map(|wait| duration(Some(wait))),
    }
}

pub(crate) fn text_encoded(event_index: i64, message: pb::TextEncoded) -> TextEncoded {
    TextEncoded {
        event_index,
        token_count: message.token_count,
        truncated: message.truncated,
    }
}

pub(crate) fn denoise_progress(event_index: i64, message: pb::DenoiseProgress) -> DenoiseProgress {
    DenoiseProgress {
        event_index,
        image_index: message.image_index,
        step: message.step,
        total_steps: message.total_steps,
        timestep: message.timestep,
        sigma: message.sigma,
        elapsed: duration(message.elapsed_duration),
        remaining: duration(message.remaining_duration),
        batch_rows: message.batch_rows,
        preview: message.preview.map(preview),
    }
}

fn preview(message: pb::Preview) -> Preview {
    Preview {
        format: OutputFormat::from_wire(message.format()),
        width_px: message.width_px,
        height_px: message.height_px,
        data: message.data,
    }
}

/// Joins an image's `header` and `data`; `event_index` is of what completed it.
pub(crate) fn image(event_index: i64, header: &pb::Image, data: Bytes) -> Image {
    Image {
        event_index,
        image_index: header.image_index,
        seed: header.seed,
        format: OutputFormat::from_wire(header.format()),
        width_px: header.width_px,
        height_px: header.height_px,
        data,
    }
}

pub(crate) fn summary(event_index: i64, message: pb::Summary) -> Summary {
    Summary {
        event_index,
        solver: Solver::from_wire(message.solver()),
        warnings: message.warnings.into_iter().map(warning).collect(),
        model: message.model,
        model_revision: message.model_revision,
        retries: message.retries,
        width_px: message.width_px,
        height_px: message.height_px,
        num_inference_steps: message.num_inference_steps,
        guidance_scale: message.guidance_scale,
        bill: bill(message.bill.unwrap_or_default()),
    }
}

fn warning(message: pb::Warning) -> RequestWarning {
    RequestWarning {
        reason: message.reason,
        field: message.field,
        message: message.message,
    }
}

fn bill(message: pb::Bill) -> Bill {
    Bill {
        queue: duration(message.queue_duration),
        text_encode: duration(message.text_encode_duration),
        total: duration(message.total_duration),
        text_encoder_replica: message.text_encoder_replica,
        gateway_replica: message.gateway_replica,
        images: message.images.into_iter().map(image_bill).collect(),
    }
}

fn image_bill(message: pb::ImageBill) -> ImageBill {
    ImageBill {
        image_index: message.image_index,
        steps: message.steps.into_iter().map(step_bill).collect(),
        vae_decode: duration(message.vae_decode_duration),
        image_encode: duration(message.image_encode_duration),
        denoiser_replica: message.denoiser_replica,
        image_decoder_replica: message.image_decoder_replica,
    }
}

fn step_bill(message: pb::StepBill) -> StepBill {
    StepBill {
        duration: duration(message.duration),
        batch_rows: message.batch_rows,
    }
}

pub(crate) fn server_state(message: pb::GetServerStateResponse) -> ServerState {
    ServerState {
        stages: message.stages.into_iter().map(stage_state).collect(),
        gateways: message.gateways.into_iter().map(gateway_state).collect(),
        bottleneck: message.bottleneck,
        bottleneck_reason: message.bottleneck_reason,
    }
}

fn stage_state(message: pb::StageState) -> StageState {
    StageState {
        kind: match message.kind() {
            pb::StageKind::Unspecified => StageKind::Unspecified,
            pb::StageKind::TextEncoder => StageKind::TextEncoder,
            pb::StageKind::Denoiser => StageKind::Denoiser,
            pb::StageKind::Vae => StageKind::Vae,
        },
        name: message.name,
        models: message.models,
        running_replicas: message.running_replicas,
        wanted_replicas: message.wanted_replicas,
        running_count: message.running_count,
        waiting_count: message.waiting_count,
        busy_share: message.busy_share,
        problem: message.problem,
    }
}

fn gateway_state(message: pb::GatewayState) -> GatewayState {
    GatewayState {
        uptime: duration(message.uptime_duration),
        replica: message.replica,
        draining: message.draining,
        open_stream_count: message.open_stream_count,
        waiting_image_count: message.waiting_image_count,
    }
}

pub(crate) fn model(message: pb::Model) -> Model {
    Model {
        state: match message.state() {
            pb::ModelState::Unspecified => ModelState::Unspecified,
            pb::ModelState::Ready => ModelState::Ready,
            pb::ModelState::Loading => ModelState::Loading,
            pb::ModelState::Unavailable => ModelState::Unavailable,
            pb::ModelState::Unloading => ModelState::Unloading,
        },
        solvers: message.solvers().map(Solver::from_wire).collect(),
        output_formats: message
            .output_formats()
            .map(OutputFormat::from_wire)
            .collect(),
        name: message.name,
        description: message.description,
        unavailable_reason: message.unavailable_reason,
        is_default: message.is_default,
        revision: message.revision,
        license: message.license,
        default_width_px: message.default_width_px,
        default_height_px: message.default_height_px,
        min_size_px: message.min_size_px,
        max_size_px: message.max_size_px,
        size_multiple_px: message.size_multiple_px,
        default_num_inference_steps: message.default_num_inference_steps,
        min_num_inference_steps: message.min_num_inference_steps,
        max_num_inference_steps: message.max_num_inference_steps,
        default_guidance_scale: message.default_guidance_scale,
        min_guidance_scale: message.min_guidance_scale,
        max_guidance_scale: message.max_guidance_scale,
        max_image_count: message.max_image_count,
        max_prompt_tokens: message.max_prompt_tokens,
        previews: message.previews,
        files_present: message.files_present,
        known_words: message.known_words,
    }
}
