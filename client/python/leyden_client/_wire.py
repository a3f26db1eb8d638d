"""From the messages of the wire to the types of this package."""

from google.protobuf import duration_pb2

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import model_service_pb2 as model_pb
from leyden_client import events, models
from leyden_client import server_state as states
from leyden_client.options import OutputFormat, Solver

SOLVER_TO_WIRE = {
    Solver.UNSPECIFIED: pb.SOLVER_UNSPECIFIED,
    Solver.EULER: pb.SOLVER_EULER,
    Solver.EULER_ANCESTRAL: pb.SOLVER_EULER_ANCESTRAL,
    Solver.LCM: pb.SOLVER_LCM,
    Solver.TCD: pb.SOLVER_TCD,
    Solver.DPMPP_2M: pb.SOLVER_DPMPP_2M,
    Solver.DPMPP_2M_SDE: pb.SOLVER_DPMPP_2M_SDE,
}
OUTPUT_FORMAT_TO_WIRE = {
    OutputFormat.UNSPECIFIED: pb.OUTPUT_FORMAT_UNSPECIFIED,
    OutputFormat.PNG: pb.OUTPUT_FORMAT_PNG,
    OutputFormat.JPEG: pb.OUTPUT_FORMAT_JPEG,
    OutputFormat.WEBP: pb.OUTPUT_FORMAT_WEBP,
}
_SOLVER_FROM_WIRE: dict[int, Solver] = {wire: solver for solver, wire in SOLVER_TO_WIRE.items()}
_OUTPUT_FORMAT_FROM_WIRE: dict[int, OutputFormat] = {
    wire: output_format for output_format, wire in OUTPUT_FORMAT_TO_WIRE.items()
}
_MODEL_STATE_FROM_WIRE: dict[int, models.ModelState] = {
    model_pb.MODEL_STATE_READY: models.ModelState.READY,
    model_pb.MODEL_STATE_LOADING: models.ModelState.LOADING,
    model_pb.MODEL_STATE_UNAVAILABLE: models.ModelState.UNAVAILABLE,
    model_pb.MODEL_STATE_UNLOADING: models.ModelState.UNLOADING,
}

_STAGE_KIND_FROM_WIRE: dict[int, states.StageKind] = {
    model_pb.STAGE_KIND_TEXT_ENCODER: states.StageKind.TEXT_ENCODER,
    model_pb.STAGE_KIND_DENOISER: states.StageKind.DENOISER,
    model_pb.STAGE_KIND_VAE: states.StageKind.VAE,
}


# A server newer than this client may send enum values that it does not know; a
# reply is not refused for them.
def _solver(wire: int) -> Solver:
    return _SOLVER_FROM_WIRE.get(wire, Solver.UNSPECIFIED)


def _output_format(wire: int) -> OutputFormat:
    return _OUTPUT_FORMAT_FROM_WIRE.get(wire, OutputFormat.UNSPECIFIED)


def seconds(duration: duration_pb2.Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def queued(response: pb.GenerateImageResponse) -> events.Queued:
    """Read the `queued` event of a response."""
    message = response.queued
    known = message.HasField("expected_wait_duration")
    return events.Queued(
        request_id=response.request_id,
        event_index=response.event_index,
        position=message.position,
        expected_wait_s=seconds(message.expected_wait_duration) if known else None,
    )


def text_encoded(response: pb.GenerateImageResponse) -> events.TextEncoded:
    """Read the `text_encoded` event of a response."""
    return events.TextEncoded(
        request_id=response.request_id,
        event_index=response.event_index,
        token_count=response.text_encoded.token_count,
        truncated=response.text_encoded.truncated,
    )


def denoise_progress(response: pb.GenerateImageResponse) -> events.DenoiseProgress:
    """Read the `denoise_progress` event of a response."""
    message = response.denoise_progress
    return events.DenoiseProgress(
        request_id=response.request_id,
        event_index=response.event_index,
        image_index=message.image_index,
        step=message.step,
        total_steps=message.total_steps,
        timestep=message.timestep,
        sigma=message.sigma,
        elapsed_s=seconds(message.elapsed_duration),
        remaining_s=seconds(message.remaining_duration),
        batch_rows=message.batch_rows,
        preview=_preview(message.preview) if message.HasField("preview") else None,
    )


def _preview(message: pb.Preview) -> events.Preview:
    return events.Preview(
        data=message.data,
        format=_output_format(message.format),
        width_px=message.width_px,
        height_px=message.height_px,
    )


def image(response: pb.GenerateImageResponse, header: pb.Image, data: bytes) -> events.Image:
    """Join an image's `header` and `data`; `response` is the one that completed it."""
    return events.Image(
        request_id=response.request_id,
        event_index=response.event_index,
        image_index=header.image_index,
        seed=header.seed,
        format=_output_format(header.format),
        width_px=header.width_px,
        height_px=header.height_px,
        data=data,
    )


def summary(response: pb.GenerateImageResponse) -> events.Summary:
    """Read the `summary` event of a response."""
    message = response.summary
    return events.Summary(
        request_id=response.request_id,
        event_index=response.event_index,
        warnings=tuple(
            events.RequestWarning(reason=w.reason, field=w.field, message=w.message)
            for w in message.warnings
        ),
        model=message.model,
        model_revision=message.model_revision,
        retries=message.retries,
        width_px=message.width_px,
        height_px=message.height_px,
        num_inference_steps=message.num_inference_steps,
        guidance_scale=message.guidance_scale,
        solver=_solver(message.solver),
        bill=_bill(message.bill),
    )


def _bill(message: pb.Bill) -> events.Bill:
    return events.Bill(
        queue_s=seconds(message.queue_duration),
        text_encode_s=seconds(message.text_encode_duration),
        total_s=seconds(message.total_duration),
        text_encoder_replica=message.text_encoder_replica,
        gateway_replica=message.gateway_replica,
        images=tuple(_image_bill(image_bill) for image_bill in message.images),
    )


def _image_bill(message: pb.ImageBill) -> events.ImageBill:
    return events.ImageBill(
        image_index=message.image_index,
        steps=tuple(
            events.StepBill(duration_s=seconds(step.duration), batch_rows=step.batch_rows)
            for step in message.steps
        ),
        vae_decode_s=seconds(message.vae_decode_duration),
        image_encode_s=seconds(message.image_encode_duration),
        denoiser_replica=message.denoiser_replica,
        image_decoder_replica=message.image_decoder_replica,
    )


def server_state(message: model_pb.GetServerStateResponse) -> states.ServerState:
    """Read what a server does."""
    return states.ServerState(
        stages=tuple(_stage(stage) for stage in message.stages),
        gateways=tuple(
            states.GatewayState(
                replica=gateway.replica,
                uptime_s=seconds(gateway.uptime_duration),
                draining=gateway.draining,
                open_stream_count=gateway.open_stream_count,
                waiting_image_count=gateway.waiting_image_count,
            )
            for gateway in message.gateways
        ),
        bottleneck=message.bottleneck,
        bottleneck_reason=message.bottleneck_reason,
    )


def _stage(message: model_pb.StageState) -> states.StageState:
    return states.StageState(
        name=message.name,
        kind=_STAGE_KIND_FROM_WIRE.get(message.kind, states.StageKind.UNSPECIFIED),
        models=tuple(message.models),
        running_replicas=message.running_replicas,
        wanted_replicas=message.wanted_replicas,
        running_count=message.running_count,
        waiting_count=message.waiting_count,
        busy_share=message.busy_share if message.HasField("busy_share") else None,
        problem=message.problem,
    )


def model(message: model_pb.Model) -> models.Model:
    """Read a model."""
    return models.Model(
        name=message.name,
        description=message.description,
        state=_MODEL_STATE_FROM_WIRE.get(message.state, models.ModelState.UNSPECIFIED),
        unavailable_reason=message.unavailable_reason,
        is_default=message.is_default,
        revision=message.revision,
        license=message.license,
        default_width_px=message.default_width_px,
        default_height_px=message.default_height_px,
        min_size_px=message.min_size_px,
        max_size_px=message.max_size_px,
        size_multiple_px=message.size_multiple_px,
        default_num_inference_steps=message.default_num_inference_steps,
        min_num_inference_steps=message.min_num_inference_steps,
        max_num_inference_steps=message.max_num_inference_steps,
        default_guidance_scale=message.default_guidance_scale,
        min_guidance_scale=message.min_guidance_scale,
        max_guidance_scale=message.max_guidance_scale,
        solvers=tuple(_solver(wire) for wire in message.solvers),
        output_formats=tuple(_output_format(wire) for wire in message.output_formats),
        max_image_count=message.max_image_count,
        max_prompt_tokens=message.max_prompt_tokens,
        previews=message.previews,
        files_present=message.files_present,
        known_words=tuple(message.known_words),
    )
