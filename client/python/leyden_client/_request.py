"""From options to the message of a request."""

import secrets
import uuid

from google.protobuf import duration_pb2

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_client._wire import OUTPUT_FORMAT_TO_WIRE, SOLVER_TO_WIRE
from leyden_client.options import (
    LINGER_S,
    GenerateOptions,
    OutputFormat,
    PreviewOptions,
    Solver,
)

# As the server draws: short enough to be typed in again.
_DRAWN_SEEDS = 2**32


def build_request(
    prompt: str,
    *,
    model: str = "",
    negative_prompt: str = "",
    seed: int | None = None,
    width_px: int = 0,
    height_px: int = 0,
    num_inference_steps: int = 0,
    guidance_scale: float | None = None,
    solver: Solver | str = Solver.UNSPECIFIED,
    image_count: int = 0,
    output_format: OutputFormat | str = OutputFormat.UNSPECIFIED,
    output_quality: int = 0,
    preview: PreviewOptions | None = None,
    request_id: str = "",
    linger_s: float | None = None,
    priority: int = 0,
) -> pb.GenerateImageRequest:
    """Write a request as its message; the server is the one that judges its values.

    Raises `ValueError` for a solver or format without that name, or a number
    that does not fit its field on the wire.
    """
    return pb.GenerateImageRequest(
        model=model,
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        width_px=width_px,
        height_px=height_px,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        solver=SOLVER_TO_WIRE[Solver(solver)],
        image_count=image_count,
        output_format=OUTPUT_FORMAT_TO_WIRE[OutputFormat(output_format)],
        output_quality=output_quality,
        preview=None if preview is None else _preview_options(preview),
        request_id=request_id,
        linger_duration=_duration(linger_s) if linger_s else None,
        priority=priority or None,
    )


def repeatable_request(
    prompt: str, options: GenerateOptions, timeout_s: float | None
) -> pb.GenerateImageRequest:
    """Write a request that can be sent again: with an id and a seed, drawn where not given.

    A server refuses what it cannot end within a call's deadline only where nothing lingers.
    So a call with `timeout_s` (seconds) lingers only if `linger_s` is given.
    Raises as `build_request`.
    """
    request = build_request(prompt, **options)
    if not request.request_id:
        request.request_id = str(uuid.uuid4())
    if not request.HasField("seed"):
        request.seed = secrets.randbelow(_DRAWN_SEEDS)
    if options.get("linger_s") is None and timeout_s is None:
        request.linger_duration.CopyFrom(_duration(LINGER_S))
    return request


def _preview_options(preview: PreviewOptions) -> pb.PreviewOptions:
    return pb.PreviewOptions(
        size_px=preview.size_px,
        every_steps=preview.every_steps,
        format=OUTPUT_FORMAT_TO_WIRE[OutputFormat(preview.format)],
    )


def _duration(value_s: float) -> duration_pb2.Duration:
    try:
        duration = duration_pb2.Duration()
        duration.FromNanoseconds(round(value_s * 1e9))
    except (OverflowError, ValueError) as error:
        raise ValueError(f"linger_s is {value_s}: it is not a number of seconds") from error
    return duration
