"""How latents move from one sigma to the next: one object for each solver that a request may name.

A solver has no state of its own, so one step of it may take rows of any images, each at its
own sigma. All tensors are float32; B is the number of images, C, H and W are latent channels
and sides.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

from leyden_server.denoiser.euler import ancestral_step, euler_step
from leyden_server.sampling import SolverName

__all__ = ["SOLVERS", "Noise", "Solver"]

Noise = Callable[[], torch.Tensor]
"""Gives (B, C, H, W), each image's from its own generator; asked by the solvers that add noise."""


class Solver(Protocol):
    """A way through the noise schedule."""

    @property
    def schedule_from(self) -> type[Any]:
        """The scheduler of diffusers whose sigmas and timesteps it goes by."""

    def step(
        self,
        latents: torch.Tensor,
        denoised: torch.Tensor,
        sigma: torch.Tensor,
        sigma_next: torch.Tensor,
        noise: Noise,
    ) -> torch.Tensor:
        """Move latents (B, C, H, W) from `sigma` to `sigma_next`, both (B, 1, 1, 1).

        `denoised` (B, C, H, W) is where the model thinks that they lead.
        """


class Euler:
    """Along the ODE."""

    schedule_from = EulerDiscreteScheduler

    def step(
        self,
        latents: torch.Tensor,
        denoised: torch.Tensor,
        sigma: torch.Tensor,
        sigma_next: torch.Tensor,
        noise: Noise,
    ) -> torch.Tensor:
        """Take one Euler step."""
        return euler_step(latents, denoised, sigma, sigma_next)


class EulerAncestral:
    """To below the next sigma, and by noise up to it."""

    schedule_from = EulerAncestralDiscreteScheduler

    def step(
        self,
        latents: torch.Tensor,
        denoised: torch.Tensor,
        sigma: torch.Tensor,
        sigma_next: torch.Tensor,
        noise: Noise,
    ) -> torch.Tensor:
        """Take one ancestral Euler step."""
        return ancestral_step(latents, denoised, sigma, sigma_next, noise())


SOLVERS: Mapping[SolverName, Solver] = MappingProxyType(
    {"euler": Euler(), "euler_ancestral": EulerAncestral()}
)
