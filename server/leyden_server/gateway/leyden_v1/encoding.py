"""From events and models to the messages of `leyden.v1`."""

from collections.abc import Callable
from typing import Any

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import model_service_pb2 as model_pb
from leyden_server.gateway.leyden_v1.decoding import FORMAT_OF_WIRE, SOLVER_OF_WIRE
from leyden_server.gateway.status import set_duration
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
    "unloading": model_pb.MODEL_STATE_UNLOADING,
    "unavailable": model_pb.MODEL_STATE_UNAVAILABLE,
}


def response(request_id: str, event_index: int, event: events.Event) -> pb.GenerateImageResponse:
    """Return an event as it is sent."""
    message = pb.GenerateImageResponse(request_id=request_id, event_index=event_index)
    _FILL[type(event)](message, event)
    return message


# Messages are filled where they stand: one that is handed over is copied, and there is a message
# for each step of each image.


def _queued(message: pb.GenerateImageResponse, event: events.Queued) -> None:
    queued = message.queued
    queued.position = event.position
    if event.expected_wait_s is not None:
        set_duration(queued.expected_wait_duration, event.expected_wait_s)


def _text_encoded(message: pb.GenerateImageResponse, event: events.TextEncoded) -> None:
    encoded = message.text_encoded
    encoded.token_count = event.token_count
    encoded.truncated = event.truncated


def _denoise_progress(message: pb.GenerateImageResponse, event: events.DenoiseProgress) -> None:
    progress = message.denoise_progress
    progress.image_index = event.image_index
    progress.step = event.step
    progress.total_steps = event.total_steps
    progress.timestep = event.timestep
    progress.sigma = event.sigma
    progress.batch_rows = event.batch_rows
    set_duration(progress.elapsed_duration, event.elapsed_s)
    set_duration(progress.remaining_duration, event.remaining_s)
    if event.preview is not None:
        progress.preview.CopyFrom(_preview(event.preview))


def _image(message: pb.GenerateImageResponse, event: events.Image) -> None:
    image = message.image
    image.image_index = event.image_index
    image.seed = event.seed
    image.format = WIRE_OF_FORMAT[event.format]
    image.width_px = event.width_px
    image.height_px = event.height_px
    image.size_bytes = event.size_bytes
    image.data = event.data


def _image_chunk(message: pb.GenerateImageResponse, event: events.ImageChunk) -> None:
    chunk = message.image_chunk
    chunk.image_index = event.image_index
    chunk.offset_bytes = event.offset_bytes
    chunk.data = event.data
    chunk.last = event.last


def _summary(message: pb.GenerateImageResponse, event: events.Summary) -> None:
    summary, sampling = message.summary, event.sampling
    for w in event.warnings:
        summary.warnings.add(reason=w.reason, field=w.field, message=w.message)
    summary.model = event.model
    summary.model_revision = event.model_revision
    summary.retries = event.retries
    summary.width_px = sampling.width_px
    summary.height_px = sampling.height_px
    summary.num_inference_steps = sampling.num_inference_steps
    summary.guidance_scale = sampling.guidance_scale
    summary.solver = WIRE_OF_SOLVER[sampling.solver]
    _fill_bill(summary.bill, event.bill)


_FILL: dict[type, Callable[[pb.GenerateImageResponse, Any], None]] = {
    events.Queued: _queued,
    events.TextEncoded: _text_encoded,
    events.DenoiseProgress: _denoise_progress,
    events.Image: _image,
    events.ImageChunk: _image_chunk,
    events.Summary: _summary,
}


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


def _fill_bill(message: pb.Bill, bill: events.Bill) -> None:
    set_duration(message.queue_duration, bill.queue_s)
    set_duration(message.text_encode_duration, bill.text_encode_s)
    set_duration(message.total_duration, bill.total_s)
    message.text_encoder_replica = bill.text_encoder_replica
    message.gateway_replica = bill.gateway_replica
    for image in bill.images:
        of_image = message.images.add(
            image_index=image.image_index,
            denoiser_replica=image.denoiser_replica,
            image_decoder_replica=image.vae_replica,
        )
        for step in image.steps:
            of_step = of_image.steps.add(batch_rows=step.batch_rows)
            set_duration(of_step.duration, step.duration_s)
        set_duration(of_image.vae_decode_duration, image.vae_decode_s)
        set_duration(of_image.image_encode_duration, image.image_encode_s)
