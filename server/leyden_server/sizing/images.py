"""What is asked for in a simulation: kinds of requests, and each one's image on its way."""

from collections.abc import Callable
from dataclasses import dataclass, field

from leyden_server.denoiser.step_scheduler import BatchKey
from leyden_server.service_order import DEFAULT_PRIORITY, ServiceOrder

__all__ = ["Image", "Kind"]

VAE_SCALE_FACTOR = 8
LATENT_CHANNELS = 4
CONDITIONING = (77, 2048, 1280)
"""SDXL's: tokens and width of prompt_embeds, width of pooled_prompt_embeds."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one image that are alike."""

    steps: int
    size_px: int
    """The side of the square."""
    guided: bool = False
    """Whether each step takes two UNet rows."""
    share: float = 1.0
    """Of all requests, by the sum of all shares."""

    @property
    def rows(self) -> int:
        """UNet rows of each step."""
        return 2 if self.guided else 1

    @property
    def prompts(self) -> int:
        """Prompts to encode: guidance has a negative one, though it be empty."""
        return self.rows

    @property
    def batch_key(self) -> BatchKey:
        """What its images may share a denoise step with."""
        side = self.size_px // VAE_SCALE_FACTOR
        return BatchKey((LATENT_CHANNELS, side, side), "bfloat16", CONDITIONING)


@dataclass(slots=True, eq=False)
class Image:
    """One request's image; what the step scheduler looks at, as a server's RequestState is."""

    kind: Kind
    arrival_s: float
    rows: int = field(init=False)
    batch_key: BatchKey = field(init=False)
    order: ServiceOrder = field(init=False)
    steps_left: int = field(init=False)
    started: bool = False
    """Whether its first denoise step has begun."""
    retries: int = 0
    on_start: Callable[["Image"], None] = lambda _image: None
    on_step: Callable[["Image"], None] = lambda _image: None

    def __post_init__(self) -> None:
        self.rows = self.kind.rows
        self.batch_key = self.kind.batch_key
        self.order = ServiceOrder(DEFAULT_PRIORITY, self.arrival_s)
        self.steps_left = self.kind.steps
