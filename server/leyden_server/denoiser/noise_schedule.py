"""The sigmas and timesteps of a denoising loop, from diffusers' schedulers."""

from dataclasses import dataclass
from typing import Any

import torch

from leyden_server.denoiser.solvers import SOLVERS
from leyden_server.model_repository.entry import PredictionType
from leyden_server.sampling import SolverName

__all__ = ["NoiseSchedule", "NoiseSchedules"]


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """Where each of N steps starts and ends. Tensors are float32 on the CPU."""

    sigmas: torch.Tensor
    """(N + 1,), ending in 0."""
    timesteps: torch.Tensor
    """(N,): training timesteps."""
    init_noise_sigma: torch.Tensor
    """Scalar: standard deviation of the initial latents."""
    start: int = 0
    """Index of the first step that runs; the latents come as noisy as it expects."""


class NoiseSchedules:
    """The noise schedules of one model, made once for each number of steps."""

    def __init__(self, scheduler_config: dict[str, Any]) -> None:
        config = {k: v for k, v in scheduler_config.items() if not k.startswith("_")}
        self._schedulers = {
            name: solver.schedule_from.from_config(config) for name, solver in SOLVERS.items()
        }
        self._cache: dict[tuple[SolverName, int], NoiseSchedule] = {}

    @property
    def prediction_type(self) -> PredictionType:
        """What the UNet predicts."""
        kind: PredictionType = self._schedulers["euler"].config.prediction_type
        return kind

    def get(self, solver: SolverName, num_inference_steps: int) -> NoiseSchedule:
        """Return the schedule of `num_inference_steps` steps."""
        key = (solver, num_inference_steps)
        if key not in self._cache:
            scheduler = self._schedulers[solver]
            scheduler.set_timesteps(num_inference_steps)
            # diffusers rounds some counts to one step more: 61 trailing steps of 1000 come as
            # 62, the last at timestep -1. What was asked for is what runs.
            sigmas = scheduler.sigmas[:num_inference_steps].to(torch.float32)
            timesteps = scheduler.timesteps[:num_inference_steps].to(torch.float32)
            assert len(sigmas) == len(timesteps) == num_inference_steps
            self._cache[key] = NoiseSchedule(
                sigmas=torch.cat([sigmas, torch.zeros(1)]),
                timesteps=timesteps,
                init_noise_sigma=torch.as_tensor(scheduler.init_noise_sigma, dtype=torch.float32),
            )
        return self._cache[key]
