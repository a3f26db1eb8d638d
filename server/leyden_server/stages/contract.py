"""The three stages as their callers see them, and what crosses to them and back.

Tensors travel as float32 numpy arrays. The Gateway fills each request; the stage that answers
fills each result.
"""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leyden_server.sampling import Sampling
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.tally import DeviceMemory, EngineTally

__all__ = [
    "PIXELS",
    "DecodeRequest",
    "DecodedImage",
    "DenoiseEvent",
    "DenoiseRequest",
    "DenoiseStarted",
    "Denoised",
    "DenoiserInfo",
    "DenoiserStage",
    "EncodedPrompt",
    "EngineLoad",
    "EngineStats",
    "FloatArray",
    "ImageFormat",
    "ModelStages",
    "PlacedDenoiser",
    "PlacedTextEncoder",
    "PlacedVae",
    "PreviewImage",
    "PreviewRequest",
    "ReplicaState",
    "StageInfo",
    "StageLife",
    "StageReport",
    "StageRun",
    "StepDone",
    "TextEncoderStage",
    "VaeStage",
]

FloatArray = NDArray[np.float32]
ImageFormat = str  # "PNG", "JPEG" or "WEBP": Pillow's names; or PIXELS

PIXELS: ImageFormat = "RGB"
"""No file: the bytes of pixels (H, W, 3), in that order. No client can name it."""


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A replica that is loaded and warmed up."""

    replica: str


@dataclass(frozen=True, slots=True)
class DenoiserInfo:
    """A Denoiser replica that is loaded and warmed up."""

    replica: str
    revision: str
    """Identifies the UNet's weights, LoRAs and their scales too: `LoadedUNet.revision`."""
    batch_row_caps: dict[int, int]
    """Most rows that pay, by latent pixels (height times width), as the warm-up measured."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """When a stage ran for an answer, and for how many rows at once."""

    started_s: float
    """Seconds since the epoch, by the clock of the machine that ran."""
    duration_s: float
    """Without what was waited for before."""
    batch_rows: int
    """Prompts, UNet rows or images that shared the run."""


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What a replica does now."""

    replica: str
    busy_share: float
    """The part of the last 10 s in which its model ran, from 0 to 1."""
    running: int
    """Prompts, or images, that it works on."""
    waiting: int
    """Those that wait in it."""


@dataclass(frozen=True, slots=True)
class StageReport:
    """What all replicas of a stage do now."""

    running: int
    """Replicas that run."""
    wanted: int
    """Replicas that there are to be."""
    replicas: tuple[ReplicaState, ...]
    """Those that have answered."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """One prompt through both text encoders."""

    prompt_embeds: FloatArray
    """(77, D): both encoders' hidden_states[-2], side by side."""
    pooled_prompt_embeds: FloatArray
    """(P,): text_encoder_2's pooled output."""
    token_count: int
    """Tokens before the cut, start and end included; the larger tokenizer's count."""
    truncated: bool
    replica: str
    run: StageRun | None = None
    """Of the encoders; None: it was encoded before, for another request."""
    memory: DeviceMemory | None = None
    """None on a CPU."""

    def zeroed(self) -> "EncodedPrompt":
        """Return zeros of the same shape: SDXL's encoding of no negative prompt."""
        return replace(
            self,
            prompt_embeds=np.zeros_like(self.prompt_embeds),
            pooled_prompt_embeds=np.zeros_like(self.pooled_prompt_embeds),
        )


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """Which previews to make."""

    size_px: int
    """Longer side; 0 is one pixel a latent."""
    every_steps: int
    format: ImageFormat


@dataclass(frozen=True, slots=True)
class DenoiseRequest:
    """One image's denoising loop."""

    request_id: str
    image_index: int
    sampling: Sampling
    """This image's: `Sampling.of_image`."""
    prompt: EncodedPrompt
    negative_prompt: EncodedPrompt | None
    """None: zeros, where guidance is on; unused, where it is off."""
    order: TravellingOrder
    """Where it stands among the images of all Gateways; it ends nothing."""
    preview: PreviewRequest | None


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What a Denoiser replica still has to do, for those who estimate a wait.

    Number i of a tuple is of the images whose priority is i + 1 by now: what waited long
    counts under the priority that it has risen to.
    """

    row_steps: tuple[int, ...]
    """9 numbers: UNet rows times steps left, of the images that run and those that wait."""
    rows: tuple[int, ...]
    """9 numbers: UNet rows of the same."""
    waiting_images: tuple[int, ...]
    """9 numbers: images that no step has run for."""
    step_s: float
    """Running mean of the seconds of a step; 0 before the first."""
    row_cap: int
    """Most rows of a step at the model's native size."""


@dataclass(frozen=True, slots=True)
class DenoiseStarted:
    """The engine took the image into its first batch."""

    replica: str
    load: EngineLoad
    """Once it was taken."""


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """An encoded preview."""

    data: bytes
    format: ImageFormat
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """One denoise step of one image ended."""

    step: int
    """From 1."""
    timestep: float
    sigma: float
    started_s: float
    """Seconds since the epoch, by the clock of the machine that ran."""
    duration_s: float
    batch_rows: int
    preview: PreviewImage | None
    load: EngineLoad
    """After the step."""
    tally: EngineTally | None = None
    """What the engine has done since it last told anybody: not of this image alone."""
    memory: DeviceMemory | None = None
    """None on a CPU."""

    @property
    def run(self) -> StageRun:
        """The UNet's run."""
        return StageRun(self.started_s, self.duration_s, self.batch_rows)


@dataclass(frozen=True, slots=True)
class Denoised:
    """The last step ended."""

    latents: FloatArray
    """(C, H / 8, W / 8)."""


DenoiseEvent = DenoiseStarted | StepDone | Denoised
"""Of an image that is not aborted: one DenoiseStarted, each StepDone in order, one Denoised."""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters of a Denoiser replica since its start (warm-up not counted)."""

    unet_rows: int
    unet_batches: int
    retired: int
    """Images whose denoising loop ended."""
    aborted: int
    """Images that left early: cancelled or failed."""
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """Latents to be made an encoded image."""

    latents: FloatArray
    """(C, H / 8, W / 8)."""
    format: ImageFormat
    quality: int
    """Of JPEG and WebP, 1 … 100."""
    parameters: dict[str, object]
    """What made the image; the file carries it as JSON."""
    order: TravellingOrder
    """Where it stands among the images that wait for the VAE."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An encoded image."""

    data: bytes
    width_px: int
    height_px: int
    vae_decode_s: float
    """With the wait for the VAE."""
    image_encode_s: float
    """With the wait for a thread."""
    replica: str
    vae_run: StageRun
    encode_run: StageRun
    memory: DeviceMemory | None = None
    """None on a CPU."""


class StageLife(Protocol):
    """Whether a stage has a replica, over Ray or in this process."""

    @property
    def name(self) -> str:
        """The name of its Serve application; in this process what that would be."""

    @property
    def replicas(self) -> int:
        """Replicas that run, as far as is known."""

    @property
    def wanted(self) -> int:
        """Replicas that are to run by now, as far as is known."""

    @property
    def problem(self) -> str:
        """Why the stage is gone, in words for clients; empty where it is there or at rest."""

    @property
    def starts(self) -> bool:
        """Whether it has no replica and is getting one."""

    def expected_start_s(self) -> float | None:
        """Return in how many seconds a stage that starts will answer; 0 for one that runs.

        None where no start was seen yet.
        """

    async def report(self) -> StageReport:
        """Ask every replica what it does; one that is late, or has died, is left out."""

    async def wake(self) -> None:
        """Have a replica started where the stage is at rest; return once that is known."""


class TextEncoderStage(Protocol):
    """The first stage."""

    async def ready(self) -> StageInfo:
        """Describe the replica, once it is loaded and warmed up."""

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encode one prompt."""


class DenoiserStage(Protocol):
    """The second stage."""

    async def ready(self) -> DenoiserInfo:
        """Describe the replica, once it is loaded and warmed up."""

    def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        """Run one image's denoising loop; closing the generator early aborts it."""

    async def stats(self) -> EngineStats:
        """Return a replica's counters."""

    async def tally(self) -> EngineTally | None:
        """Return what a replica has told nobody yet, once the images that leave it have left."""


class VaeStage(Protocol):
    """The third stage."""

    async def ready(self) -> StageInfo:
        """Describe the replica, once it is loaded and warmed up."""

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode the image."""


class PlacedTextEncoder(TextEncoderStage, StageLife, Protocol):
    """A text encoder as its callers have it."""


class PlacedDenoiser(DenoiserStage, StageLife, Protocol):
    """A denoiser as its callers have it."""


class PlacedVae(VaeStage, StageLife, Protocol):
    """A VAE as its callers have it."""


@dataclass(frozen=True, slots=True)
class ModelStages:
    """The three stages of one model, over Ray or in this process."""

    text_encoder: PlacedTextEncoder
    denoiser: PlacedDenoiser
    vae: PlacedVae

    def __iter__(self) -> Iterator[StageLife]:
        return iter((self.text_encoder, self.denoiser, self.vae))
