"""The sigmas, timesteps and factors of a denoising loop, from diffusers' schedulers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import product
from types import MappingProxyType
from typing import Any

import torch

from leyden_server.denoiser.solvers import SOLVERS
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.entry import DEFAULT_ETA, PredictionType
from leyden_server.sampling import SolverName

__all__ = ["NoiseSchedule", "NoiseSchedules"]


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """Where each of N steps starts and ends, and how. Tensors are float32 on the CPU."""

    sigmas: torch.Tensor
    """(N + 1,), ending in 0: the noise over the signal."""
    timesteps: torch.Tensor
    """(N,): training timesteps."""
    init_noise_sigma: torch.Tensor
    """Scalar: standard deviation of the initial latents."""
    weights: torch.Tensor
    """(N, 7): the `StepWeights` of each step."""
    start: int = 0
    """Index of the first step that runs; the latents come as noisy as it expects."""


class NoiseSchedules:
    """The noise schedules of one model, made once for each number of steps."""

    def __init__(
        self,
        scheduler_config: dict[str, Any],
        timesteps: Mapping[int, Sequence[int]] = MappingProxyType({}),
        eta: float = DEFAULT_ETA,
    ) -> None:
        """`timesteps` are those of the numbers of steps that have their own; `eta` is TCD's."""
        self._config = {k: v for k, v in scheduler_config.items() if not k.startswith("_")}
        self._timesteps = timesteps
        self._eta = eta
        self._schedulers: dict[SolverName, Any] = {}
        self._cache: dict[tuple[SolverName, int], NoiseSchedule] = {}

    @property
    def prediction_type(self) -> PredictionType:
        """What the UNet predicts."""
        kind: PredictionType = self._scheduler("euler").config.prediction_type
        return kind

    def check(self, solvers: Iterable[SolverName], counts: Iterable[int]) -> None:
        """Make the schedules of these solvers and numbers of steps, and of own timesteps.

        Raises:
            ModelRepositoryError: diffusers cannot, with this config.

        """
        for solver, count in product(solvers, {*counts, *self._timesteps}):
            try:
                self.get(solver, count)
            except (ImportError, NotImplementedError, TypeError, ValueError) as error:
                raise ModelRepositoryError(
                    f"scheduler: {solver} has no schedule of {count} steps: {error}"
                ) from error

    def get(self, solver: SolverName, num_inference_steps: int) -> NoiseSchedule:
        """Return the schedule of `num_inference_steps` steps."""
        key = (solver, num_inference_steps)
        if key not in self._cache:
            self._cache[key] = self._make(solver, num_inference_steps)
        return self._cache[key]

    def _make(self, solver: SolverName, steps: int) -> NoiseSchedule:
        scheduler = self._scheduler(solver)
        own = self._timesteps.get(steps)
        if own is None:
            scheduler.set_timesteps(steps)
        else:
            scheduler.set_timesteps(timesteps=list(own))
        # diffusers rounds some counts to one step more: 61 trailing steps of 1000 come as
        # 62, the last at timestep -1. What was asked for is what runs.
        timesteps = scheduler.timesteps[:steps].to(torch.float32)
        sigmas = SOLVERS[solver].sigmas(scheduler, steps)
        assert len(timesteps) == len(sigmas) - 1 == steps
        return NoiseSchedule(
            sigmas=sigmas.to(torch.float32),
            timesteps=timesteps,
            init_noise_sigma=torch.as_tensor(scheduler.init_noise_sigma, dtype=torch.float32),
            weights=SOLVERS[solver].weights(scheduler, sigmas, self._eta).table(),
        )

    def _scheduler(self, name: SolverName) -> Any:
        if name not in self._schedulers:
            solver = SOLVERS[name]
            # The others it would ignore too, and warn of: configs have fields of other schedulers.
            known = signature(solver.schedule_from.__init__).parameters
            config = {key: value for key, value in self._config.items() if key in known}
            self._schedulers[name] = solver.schedule_from.from_config({**config, **solver.settings})
        return self._schedulers[name]
