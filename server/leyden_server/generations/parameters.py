"""What a client asks for, and what that comes to with every default filled in."""

from dataclasses import dataclass

from leyden_server.model_repository import ResolvedModel
from leyden_server.sampling import Sampling
from leyden_server.stages.contract import ImageFormat, PreviewRequest

__all__ = [
    "GenerationParameters",
    "GenerationRequest",
    "RequestWarning",
    "RequestedPreview",
]


@dataclass(frozen=True, slots=True)
class RequestedPreview:
    """Which previews a client asks for; zero and empty mean the default."""

    size_px: int = 0
    every_steps: int = 0
    format: str = ""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request as it came, not checked; two that are equal ask for the same.

    Zero, empty and None mean the model's default. A protocol's decoder fills it, with our own
    words for solvers and formats; what has none there is passed on as its number or name.
    """

    prompt: str
    model: str = ""
    negative_prompt: str = ""
    seed: int | None = None
    width_px: int = 0
    height_px: int = 0
    num_inference_steps: int = 0
    guidance_scale: float | None = None
    solver: str = ""
    image_count: int = 0
    output_format: str = ""
    pixels: bool = False
    """Whether an image is to be its bare pixels, (height, width, 3) bytes, and no file: then
    `output_format` means nothing. For protocols that carry arrays."""
    output_quality: int = 0
    preview: RequestedPreview | None = None
    request_id: str = ""
    linger_s: float = 0.0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class RequestWarning:
    """Something that was ignored, cut or lies outside of recommended values."""

    reason: str
    """UPPER_SNAKE_CASE."""
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class GenerationParameters:
    """A request that is right, with every default filled in."""

    request_id: str
    model: ResolvedModel
    prompt: str
    negative_prompt: str
    """Empty where guidance is off."""
    sampling: Sampling
    """Of image 0; image i has seed + i."""
    image_count: int
    format: ImageFormat
    quality: int
    preview: PreviewRequest | None
    linger_s: float
    priority: int
    """1 (first) to 9."""
    warnings: tuple[RequestWarning, ...]

    @property
    def rows(self) -> int:
        """Rows of the UNet that each step of an image takes; a second one is guidance's."""
        return self.model.rows(self.sampling.guidance_scale)
