"""What a request for images may ask for."""

import enum
from dataclasses import dataclass
from typing import TypedDict

DEFAULT_TARGET = "127.0.0.1:8001"
"""Where a server is that was not told otherwise, and where a client looks for it."""
LINGER_S = 15.0
"""For how many seconds a generation outlives a broken connection, unless told otherwise."""
DETACHED_LINGER_S = 600.0
"""For how many seconds a generation goes on that was started to be left alone."""


class Solver(enum.StrEnum):
    """Rule of one denoise step."""

    UNSPECIFIED = "unspecified"
    """In a request: the model's default. In a reply: one that this client does not know."""
    EULER = "euler"
    """Euler's method: deterministic after the initial noise."""
    EULER_ANCESTRAL = "euler_ancestral"
    """Euler with fresh noise at every step, drawn from the image's own seed."""
    LCM = "lcm"
    """Latent consistency, for models distilled so: LCM, LCM-LoRA, DMD2."""
    TCD = "tcd"
    """Trajectory consistency, for models distilled so: TCD, Hyper-SD."""
    DPMPP_2M = "dpmpp_2m"
    """DPM-Solver++ of second order, for models of many steps."""
    DPMPP_2M_SDE = "dpmpp_2m_sde"
    """The same with fresh noise at every step, drawn from the image's own seed."""


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
    """Seed of the first image, at least 0; image i has seed + i. None: drawn by this client."""
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
    """Name of the generation, unused by any other. Empty: a UUID that this client draws."""
    linger_s: float | None
    """For how long, in seconds, the generation goes on when its connection breaks.

    So long this client tries to come back to it. 0: a broken connection is an error at once,
    and the server ends the generation. None: 15; with a `timeout_s` the server is told 0 all
    the same, as `stream_image` says.
    """
    priority: int
    """How soon it is served: 1 (first) to 9 (last). 0: 5."""
