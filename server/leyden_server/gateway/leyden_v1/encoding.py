"""Builds the protobuf events from what the stages answered."""

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.generations.rules import (
    FORMATS,
    SOLVERS,
    GenerationParameters,
    RequestWarning,
)
from leyden_server.stages.contract import DecodedImage, EncodedPrompt, PreviewImage, StepDone

__all__ = [
    "FORMAT_VALUES",
    "SOLVER_VALUES",
    "denoise_progress",
    "duration",
    "image_events",
    "queued",
    "summary",
    "text_encoded",
]

CHUNK_ABOVE_BYTES = 3 * 2**20
"""gRPC clients stop at messages of 4 MiB unless told otherwise."""
CHUNK_BYTES = 2**20

FORMAT_VALUES = {name: value for value, name in FORMATS.items()}
SOLVER_VALUES = {name: value for value, name in SOLVERS.items()}


def duration(seconds: float) -> Duration:
    """Return seconds as a protobuf Duration; a clock's tiny negative is zero."""
    result = Duration()
    result.FromNanoseconds(max(0, round(seconds * 1e9)))
    return result


def queued(position: int, expected_wait_s: float | None) -> pb.GenerateImageResponse:
    """Say that the request waits."""
    event = pb.Queued(position=position)
    if expected_wait_s is not None:
        event.expected_wait_duration.CopyFrom(duration(expected_wait_s))
    return pb.GenerateImageResponse(queued=event)


def text_encoded(prompt: EncodedPrompt) -> pb.GenerateImageResponse:
    """Say that the prompt is encoded."""
    return pb.GenerateImageResponse(
        text_encoded=pb.TextEncoded(token_count=prompt.token_count, truncated=prompt.truncated)
    )


def denoise_progress(
    image_index: int, step: StepDone, total_steps: int, elapsed_s: float, loop_s: float
) -> pb.GenerateImageResponse:
    """Say that a step ended; `loop_s` is the time since the image's first step started."""
    remaining_s = loop_s / step.step * (total_steps - step.step)
    return pb.GenerateImageResponse(
        denoise_progress=pb.DenoiseProgress(
            image_index=image_index,
            step=step.step,
            total_steps=total_steps,
            timestep=step.timestep,
            sigma=step.sigma,
            elapsed_duration=duration(elapsed_s),
            remaining_duration=duration(remaining_s),
            batch_rows=step.batch_rows,
            preview=_preview(step.preview) if step.preview else None,
        )
    )


def image_events(
    image_index: int, image: DecodedImage, parameters: GenerationParameters
) -> list[pb.GenerateImageResponse]:
    """Return the image as one event, or announced and in chunks where it is large."""
    whole = len(image.data) <= CHUNK_ABOVE_BYTES
    announced = pb.Image(
        image_index=image_index,
        seed=parameters.seed + image_index,
        format=FORMAT_VALUES[parameters.format],
        width_px=image.width_px,
        height_px=image.height_px,
        size_bytes=len(image.data),
        data=image.data if whole else b"",
    )
    events = [pb.GenerateImageResponse(image=announced)]
    for offset in [] if whole else range(0, len(image.data), CHUNK_BYTES):
        chunk = pb.ImageChunk(
            image_index=image_index,
            offset_bytes=offset,
            data=image.data[offset : offset + CHUNK_BYTES],
            last=offset + CHUNK_BYTES >= len(image.data),
        )
        events.append(pb.GenerateImageResponse(image_chunk=chunk))
    return events


def summary(
    parameters: GenerationParameters,
    warnings: Iterable[RequestWarning],
    revision: str,
    retries: int,
    bill: pb.Bill,
) -> pb.GenerateImageResponse:
    """Say that the generation is done, and what it cost."""
    return pb.GenerateImageResponse(
        summary=pb.Summary(
            warnings=[
                pb.Warning(reason=w.reason, field=w.field, message=w.message) for w in warnings
            ],
            model=parameters.model.name,
            model_revision=revision,
            retries=retries,
            width_px=parameters.width_px,
            height_px=parameters.height_px,
            num_inference_steps=parameters.num_inference_steps,
            guidance_scale=parameters.guidance_scale,
            solver=SOLVER_VALUES[parameters.solver],
            bill=bill,
        )
    )


def _preview(preview: PreviewImage) -> pb.Preview:
    return pb.Preview(
        data=preview.data,
        format=FORMAT_VALUES[preview.format],
        width_px=preview.width_px,
        height_px=preview.height_px,
    )
