"""What a request for images may ask for."""

import enum
from dataclasses import dataclass
from typing import TypedDict

from leyden.v1 import image_generation_service_pb2 as pb


class Solver(enum.StrEnum):
    """Rule of one denoise step."""

    UNSPECIFIED = "unspecified"
    """In a request: the model's default. In a reply: one that this client does not know."""
    EULER = "euler"
    """Euler's method: deterministic after the initial noise."""
    EULER_ANCESTRAL = "euler_ancestral"
    """Euler with fresh noise at every step, drawn from the image's own seed."""


class OutputFormat(enum.StrEnum):
    """Encoding of an image."""

    UNSPECIFIED = "unspecified"
    """In a request: the server's default. In a reply: one that this client does not know."""
    PNG = "png"
    """Lossless."""
    JPEG = "jpeg"
    """Small, fast, lossy."""
    WEBP = "webp"
    """Smaller, slower, lossy."""


SOLVER_TO_WIRE = {
    Solver.UNSPECIFIED: pb.SOLVER_UNSPECIFIED,
    Solver.EULER: pb.SOLVER_EULER,
    Solver.EULER_ANCESTRAL: pb.SOLVER_EULER_ANCESTRAL,
}
OUTPUT_FORMAT_TO_WIRE = {
    OutputFormat.UNSPECIFIED: pb.OUTPUT_FORMAT_UNSPECIFIED,
    OutputFormat.PNG: pb.OUTPUT_FORMAT_PNG,
    OutputFormat.JPEG: pb.OUTPUT_FORMAT_JPEG,
    OutputFormat.WEBP: pb.OUTPUT_FORMAT_WEBP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewOptions:
    """Asks for previews with the denoise progress."""

    size_px: int = 0
    """Longer side in pixels, at most 1,024. 0: one pixel for each latent."""
    every_steps: int = 0
    """A preview every so many steps, counted back from the last. 0: every step."""
    format: OutputFormat | str = OutputFormat.UNSPECIFIED
    """Encoding; unspecified means JPEG."""


class GenerateOptions(TypedDict, total=False):
    """Keyword arguments of `stream_image` and `generate_image`.

    Zero or empty means the model's default, except for `seed` and
    `guidance_scale`, where None does and zero is a value.
    """

    model: str
    """Name of the model. Empty: the server's default model."""
    negative_prompt: str
    """What not to show; it has an effect only where `guidance_scale` is above 1."""
    seed: int | None
    """Seed of the first image, at least 0; image i has seed + i. None: drawn by the server."""
    width_px: int
    """Width in pixels. 0: the model's native width."""
    height_px: int
    """Height in pixels. 0: the model's native height."""
    num_inference_steps: int
    """Number of denoise steps. 0: the model's default."""
    guidance_scale: float | None
    """Classifier-free guidance scale; off at or below 1. None: the model's default."""
    solver: Solver | str
    """Rule of a denoise step, or its plain name."""
    image_count: int
    """Number of images. 0: 1."""
    output_format: OutputFormat | str
    """Encoding of the images, or its plain name. Unspecified: PNG."""
    output_quality: int
    """Quality of a JPEG or WebP, 1 to 100; not allowed with PNG. 0: 90."""
    preview: PreviewOptions | None
    """Asks for previews. None: none."""
    request_id: str
    """Name of the generation, unused by any that runs. Empty: drawn by the server."""


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
    )


def _preview_options(preview: PreviewOptions) -> pb.PreviewOptions:
    return pb.PreviewOptions(
        size_px=preview.size_px,
        every_steps=preview.every_steps,
        format=OUTPUT_FORMAT_TO_WIRE[OutputFormat(preview.format)],
    )
