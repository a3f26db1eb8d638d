"""The truth about one image on its way through the denoising loop."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from leyden_server.denoiser.noise_schedule import NoiseSchedule
from leyden_server.denoiser.step_scheduler import BatchKey
from leyden_server.denoiser.step_weights import StepWeights
from leyden_server.sampling import Sampling
from leyden_server.service_order import ServiceOrder
from leyden_server.stages.contract import EngineLoad

__all__ = ["Finished", "ImageEvent", "RequestState", "Started", "Stepped"]


@dataclass(frozen=True, slots=True)
class Started:
    """The image is in its first batch."""

    load: EngineLoad


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step of the image ended."""

    step: int
    """From 1."""
    timestep: float
    sigma: float
    started_s: float
    """Seconds since the epoch."""
    duration_s: float
    batch_rows: int
    load: EngineLoad
    """After the step."""
    denoised: torch.Tensor | None
    """(C, H / 8, W / 8) float32 on the CPU: pred_original_sample, where a preview is due."""
    is_last: bool
    """Whether `Finished` follows at once."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The image left the engine."""

    latents: torch.Tensor | None
    """(C, H / 8, W / 8) float32 on the CPU; None where it failed."""
    error: Exception | None = None


ImageEvent = Started | Stepped | Finished


@dataclass(slots=True, eq=False)
class RequestState:
    """One image. The caller fills all but the last block; the engine alone changes it."""

    batch_key: BatchKey
    sampling: Sampling
    order: ServiceOrder
    schedule: NoiseSchedule
    generator: torch.Generator
    """On the CPU; has drawn the initial noise and draws what the steps add."""
    prompt_embeds: torch.Tensor
    """(rows, 77, D): with guidance the negative prompt's row comes first."""
    pooled_prompt_embeds: torch.Tensor
    """(rows, P)."""
    add_time_ids: torch.Tensor
    """(6,)."""
    preview_every_steps: int | None
    emit: Callable[[ImageEvent], None]
    """Called in the engine's thread."""

    latents: torch.Tensor
    """(C, H / 8, W / 8) float32. On the CPU, as the embeddings are, until it is admitted."""
    timestep_cond: torch.Tensor | None = None
    """(W,): the guidance scale's embedding, for a UNet that was distilled with guidance."""
    step_index: int = field(init=False)
    """The step that runs next."""
    cancelled: bool = False
    """Set by the caller; the image leaves at the next step boundary."""
    encoder_hidden_states: torch.Tensor | None = field(default=None, init=False)
    """(rows, 77, W): what the UNet's cross-attention reads, on the device, from the first step on.

    Of SDXL in half precision 25.6 MB a row, so it goes as soon as the image leaves the engine.
    """
    previous: torch.Tensor | None = field(default=None, init=False)
    """(C, H / 8, W / 8) float32: the estimate of the step before, where the next one takes it."""

    _noise: torch.Tensor | None = field(default=None, init=False)
    """What the step that runs next adds, once it is drawn."""

    def __post_init__(self) -> None:
        self.step_index = self.schedule.start

    def to_device(
        self,
        device: torch.device,
        dtype: torch.dtype,
        encoder_hidden_states: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        """Move and make what the UNet reads; nothing where it is there.

        `encoder_hidden_states` makes of prompt_embeds what cross-attention reads. It is given an
        image's own rows alone, so what it makes does not depend on who is in the batch.

        The engine's thread does it: a copy waits for the device, and nobody else may wait
        for that.
        """
        self.latents = self.latents.to(device)
        self.prompt_embeds = self.prompt_embeds.to(device, dtype)
        self.pooled_prompt_embeds = self.pooled_prompt_embeds.to(device, dtype)
        self.add_time_ids = self.add_time_ids.to(device, dtype)
        if self.timestep_cond is not None:
            self.timestep_cond = self.timestep_cond.to(device, dtype)
        if self.encoder_hidden_states is None:
            self.encoder_hidden_states = encoder_hidden_states(self.prompt_embeds)

    def noise(self) -> torch.Tensor:
        """Return the noise (C, H / 8, W / 8) of the step that runs next.

        Drawn once: a step that failed and runs again adds the same.
        """
        if self._noise is None:
            self._noise = torch.randn(self.latents.shape, generator=self.generator)
        return self._noise

    def advance(self, latents: torch.Tensor, denoised: torch.Tensor) -> None:
        """Take the latents that the step led to, and the estimate that it made."""
        self.latents = latents
        self.step_index += 1
        self._noise = None
        follows = not self.done and bool(StepWeights(*self.weights).previous)
        self.previous = denoised if follows else None

    @property
    def weights(self) -> torch.Tensor:
        """(7,) on the CPU: the `StepWeights` of the step that runs next."""
        return self.schedule.weights[self.step_index]

    @property
    def rows(self) -> int:
        """UNet rows of one step."""
        return self.prompt_embeds.shape[0]

    @property
    def steps_left(self) -> int:
        """Steps that have not run yet."""
        return len(self.schedule.timesteps) - self.step_index

    @property
    def done(self) -> bool:
        """Whether the last step has run."""
        return self.steps_left == 0

    @property
    def preview_is_due(self) -> bool:
        """Whether the step that just ended has a preview; the last one always has."""
        every = self.preview_every_steps
        return every is not None and self.steps_left % every == 0
