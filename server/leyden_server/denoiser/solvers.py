"""How latents move from one sigma to the next: one object for each solver that a request may name.

A solver has no state of its own. It says which scheduler of diffusers gives it its timesteps and
noise levels, and what a step there multiplies its tensors by. All tensors are float64 on the CPU;
N is the number of steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)

from leyden_server.denoiser.dpmpp import dpmpp_2m_move, dpmpp_2m_sde_move
from leyden_server.denoiser.euler import ancestral_move, euler_move
from leyden_server.denoiser.lcm import lcm_move
from leyden_server.denoiser.step_weights import (
    Move,
    StepWeights,
    variance_exploding,
    variance_preserving,
)
from leyden_server.denoiser.tcd import tcd_move
from leyden_server.sampling import SolverName

__all__ = ["SOLVERS", "Solver"]

LEAST_ALPHA_CUMPROD = 2.0**-24
"""What diffusers' schedulers that go by sigmas put in the place of a share of signal of 0."""


class Solver(Protocol):
    """A way through the noise schedule."""

    @property
    def schedule_from(self) -> type[Any]:
        """The scheduler of diffusers whose timesteps and noise levels it goes by."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What that scheduler's config must say for this solver."""

    def sigmas(self, scheduler: Any, steps: int) -> torch.Tensor:
        """Return the noise levels (N + 1,) of a scheduler whose timesteps are set, ending in 0."""

    def weights(self, scheduler: Any, sigmas: torch.Tensor, eta: float) -> StepWeights:
        """Return the factors of every step; `eta` counts for those that have one."""


@dataclass(frozen=True, slots=True)
class SigmaSolver:
    """Goes from sigma to sigma, wherever these lie between those of the training timesteps."""

    schedule_from: type[Any]
    move: Callable[[torch.Tensor], Move]
    variance_preserving: bool
    """Whether its latents keep variance 1; else that of their noise is sigma squared."""
    settings: Mapping[str, str] = field(default_factory=dict)

    def sigmas(self, scheduler: Any, steps: int) -> torch.Tensor:
        """Return the scheduler's own."""
        sigmas: torch.Tensor = scheduler.sigmas[:steps].to(torch.float64)
        return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])

    def weights(self, scheduler: Any, sigmas: torch.Tensor, eta: float) -> StepWeights:
        """Return the factors of every step."""
        del eta
        kind = scheduler.config.prediction_type
        if self.variance_preserving:
            estimate = variance_preserving(1 / (sigmas[:-1] ** 2 + 1), kind)
        else:
            estimate = variance_exploding(sigmas[:-1], kind)
        return StepWeights(*estimate, *self.move(sigmas))


class TimestepSolver:
    """Goes from one training timestep to another."""

    settings: Mapping[str, str] = MappingProxyType({})

    def sigmas(self, scheduler: Any, steps: int) -> torch.Tensor:
        """Return those of the timesteps; without any signal, that of the least that is served."""
        alpha = scheduler.alphas_cumprod[scheduler.timesteps[:steps]].to(torch.float64)
        alpha = alpha.clamp(min=LEAST_ALPHA_CUMPROD)
        return torch.cat([((1 - alpha) / alpha) ** 0.5, torch.zeros(1, dtype=torch.float64)])


class Lcm(TimestepSolver):
    """To what the model thinks that the latents lead to, and by noise to the next timestep."""

    schedule_from = LCMScheduler

    def weights(self, scheduler: Any, sigmas: torch.Tensor, eta: float) -> StepWeights:
        """Return the factors of every step."""
        del eta
        timesteps = scheduler.timesteps[: len(sigmas) - 1]
        alphas_cumprod = scheduler.alphas_cumprod.to(torch.float64)
        config = scheduler.config
        return StepWeights(
            *variance_preserving(alphas_cumprod[timesteps], config.prediction_type),
            *lcm_move(timesteps, alphas_cumprod, config.timestep_scaling),
        )


class Tcd(TimestepSolver):
    """Past the next timestep along the trajectory, and by noise back up to it."""

    schedule_from = TCDScheduler

    def weights(self, scheduler: Any, sigmas: torch.Tensor, eta: float) -> StepWeights:
        """Return the factors of every step."""
        timesteps = scheduler.timesteps[: len(sigmas) - 1]
        alphas_cumprod = scheduler.alphas_cumprod.to(torch.float64)
        return StepWeights(
            *variance_preserving(alphas_cumprod[timesteps], scheduler.config.prediction_type),
            *tcd_move(timesteps, alphas_cumprod, eta),
        )


SOLVERS: Mapping[SolverName, Solver] = MappingProxyType(
    {
        "euler": SigmaSolver(EulerDiscreteScheduler, euler_move, variance_preserving=False),
        "euler_ancestral": SigmaSolver(
            EulerAncestralDiscreteScheduler, ancestral_move, variance_preserving=False
        ),
        "lcm": Lcm(),
        "tcd": Tcd(),
        "dpmpp_2m": SigmaSolver(
            DPMSolverMultistepScheduler,
            dpmpp_2m_move,
            variance_preserving=True,
            settings={"algorithm_type": "dpmsolver++"},
        ),
        "dpmpp_2m_sde": SigmaSolver(
            DPMSolverMultistepScheduler,
            dpmpp_2m_sde_move,
            variance_preserving=True,
            settings={"algorithm_type": "sde-dpmsolver++"},
        ),
    }
)
