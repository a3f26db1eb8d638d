"""From events and models to the messages of `leyden.v1`."""

from functools import singledispatch

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import model_service_pb2 as model_pb
from leyden_server.gateway.leyden_v1.decoding import FORMAT_OF_WIRE, SOLVER_OF_WIRE
from leyden_server.gateway.status import duration
from leyden_server.generations import events
from leyden_server.generations.catalog import ModelView
from leyden_server.generations.rules import FORMATS
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import PreviewImage

__all__ = ["model_message", "response"]

WIRE_OF_FORMAT = {name: wire for wire, name in FORMAT_OF_WIRE.items() if name}
WIRE_OF_SOLVER = {name: wire for wire, name in SOLVER_OF_WIRE.items() if name}
STATES = {
    "ready": model_pb.MODEL_STATE_READY,
    "loading": model_pb.MODEL_STATE_LOADING,
    "unavailable": model_pb.MODEL_STATE_UNAVAILABLE,
}


def response(request_id: str, event_index: int, event: events.Event) -> pb.GenerateImageResponse:
    """Return an event as it is sent."""
    message = _message(event)
    message.request_id = request_id
    message.event_index = event_index
    return message


@singledispatch
def _message(event: object) -> pb.GenerateImageResponse:
    raise TypeError(f"{type(event).__name__} is no event of this API")


@_message.register
def _(event: events.Queued) -> pb.GenerateImageResponse:
    wait = None if event.expected_wait_s is None else duration(event.expected_wait_s)
    queued = pb.Queued(position=event.position, expected_wait_duration=wait)
    return pb.GenerateImageResponse(queued=queued)


@_message.register
def _(event: events.TextEncoded) -> pb.GenerateImageResponse:
    encoded = pb.TextEncoded(token_count=event.token_count, truncated=event.truncated)
    return pb.GenerateImageResponse(text_encoded=encoded)


@_message.register
def _(event: events.DenoiseProgress) -> pb.GenerateImageResponse:
    return pb.GenerateImageResponse(
        denoise_progress=pb.DenoiseProgress(
            image_index=event.image_index,
            step=event.step,
            total_steps=event.total_steps,
            timestep=event.timestep,
            sigma=event.sigma,
            elapsed_duration=duration(event.elapsed_s),
            remaining_duration=duration(event.remaining_s),
            batch_rows=event.batch_rows,
            preview=None if event.preview is None else _preview(event.preview),
        )
    )


@_message.register
def _(event: events.Image) -> pb.GenerateImageResponse:
    return pb.GenerateImageResponse(
        image=pb.Image(
            image_index=event.image_index,
            seed=event.seed,
            format=WIRE_OF_FORMAT[event.format],
            width_px=event.width_px,
            height_px=event.height_px,
            size_bytes=event.size_bytes,
            data=event.data,
        )
    )


@_message.register
def _(event: events.ImageChunk) -> pb.GenerateImageResponse:
    return pb.GenerateImageResponse(
        image_chunk=pb.ImageChunk(
            image_index=event.image_index,
            offset_bytes=event.offset_bytes,
            data=event.data,
            last=event.last,
        )
    )


@_message.register
def _(event: events.Summary) -> pb.GenerateImageResponse:
    sampling = event.sampling
    return pb.GenerateImageResponse(
        summary=pb.Summary(
            warnings=[
                pb.Warning(reason=w.reason, field=w.field, message=w.message)
                for w in event.warnings
            ],
            model=event.model,
            model_revision=event.model_revision,
            retries=event.retries,
            width_px=sampling.width_px,
            height_px=sampling.height_px,
            num_inference_steps=sampling.num_inference_steps,
            guidance_scale=sampling.guidance_scale,
            solver=WIRE_OF_SOLVER[sampling.solver],
            bill=_bill(event.bill),
        )
    )


def model_message(view: ModelView, max_image_count: int) -> model_pb.Model:
    """Return a model as ListModels and GetModel describe it."""
    entry = view.entry
    message = model_pb.Model(
        name=entry.name,
        description=entry.description,
        license=entry.license,
        state=STATES[view.state],
        is_default=view.is_default,
        revision=view.revision,
        unavailable_reason=view.unavailable_reason,
        max_image_count=max_image_count,
        output_formats=[WIRE_OF_FORMAT[name] for name in FORMATS],
        files_present=entry.model is not None,
    )
    if entry.model is not None:
        _fill_limits(message, entry.model)
    return message


def _fill_limits(message: model_pb.Model, model: ResolvedModel) -> None:
    message.default_width_px = model.width_px
    message.default_height_px = model.height_px
    message.min_size_px = model.min_size_px
    message.max_size_px = model.max_size_px
    message.size_multiple_px = model.vae_scale_factor
    message.default_num_inference_steps = model.steps.default
    message.min_num_inference_steps = model.steps.min
    message.max_num_inference_steps = model.steps.max
    message.default_guidance_scale = model.default_guidance_scale
    message.min_guidance_scale = model.min_guidance_scale
    message.max_guidance_scale = model.max_guidance_scale
    message.solvers.extend(WIRE_OF_SOLVER[solver] for solver in model.solvers)
    message.max_prompt_tokens = model.max_prompt_tokens
    message.previews = model.preview is not None
    message.known_words.extend(sorted(model.known_words))


def _preview(preview: PreviewImage) -> pb.Preview:
    return pb.Preview(
        data=preview.data,
        format=WIRE_OF_FORMAT[preview.format],
        width_px=preview.width_px,
        height_px=preview.height_px,
    )


def _bill(bill: events.Bill) -> pb.Bill:
    return pb.Bill(
        queue_duration=duration(bill.queue_s),
        text_encode_duration=duration(bill.text_encode_s),
        total_duration=duration(bill.total_s),
        text_encoder_replica=bill.text_encoder_replica,
        gateway_replica=bill.gateway_replica,
        images=[
            pb.ImageBill(
                image_index=image.image_index,
                steps=[
                    pb.StepBill(duration=duration(step.duration_s), batch_rows=step.batch_rows)
                    for step in image.steps
                ],
                vae_decode_duration=duration(image.vae_decode_s),
                image_encode_duration=duration(image.image_encode_s),
                denoiser_replica=image.denoiser_replica,
                image_decoder_replica=image.vae_replica,
            )
            for image in bill.images
        ],
    )
