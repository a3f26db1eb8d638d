"""DPM-Solver++(2M): for N steps the factors of `StepWeights`, from sigmas (N + 1,) that end in 0.

Lu et al. 2022, arXiv 2211.01095, algorithm 2, and its variant for the SDE, as diffusers'
`DPMSolverMultistepScheduler` of order 2 and type midpoint takes them, to which tests pin these. The
latents' variance is 1. The paper's lambda is -ln sigma, so exp(-h), for a step of length h in it,
is the next sigma over this one.

The first step has none before it, and the last one, to sigma 0, is infinitely long: both are of
first order. So is a step after two equal sigmas, by whose distance diffusers divides (with as many
steps as training timesteps there are some).
"""

import torch

from leyden_server.denoiser.step_weights import Move

__all__ = ["dpmpp_2m_move", "dpmpp_2m_sde_move"]


def dpmpp_2m_move(sigmas: torch.Tensor) -> Move:
    """Return what moves latents from each sigma to the next along the ODE."""
    shrunk = sigmas[1:] / sigmas[:-1]
    signal, signal_next = _signals(sigmas)
    towards, previous = _extrapolated(signal_next * (1 - shrunk), sigmas)
    return signal_next / signal * shrunk, towards, previous, torch.zeros_like(shrunk)


def dpmpp_2m_sde_move(sigmas: torch.Tensor) -> Move:
    """Return what moves latents from each sigma to the next along the SDE."""
    shrunk = sigmas[1:] / sigmas[:-1]
    signal, signal_next = _signals(sigmas)
    towards, previous = _extrapolated(signal_next * (1 - shrunk**2), sigmas)
    noise = sigmas[1:] * signal_next * (1 - shrunk**2) ** 0.5
    return signal_next / signal * shrunk**2, towards, previous, noise


def _signals(sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the signal's deviation at the beginning and at the end of each step."""
    signal = (sigmas**2 + 1) ** -0.5
    return signal[:-1], signal[1:]


def _extrapolated(towards: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split the factor on the middle of a step between two estimates: its own, and the one before.

    The line through both is followed for half of the step.
    """
    lengths = (sigmas[:-1] / sigmas[1:]).log()
    further = torch.zeros_like(towards)
    further[1:] = lengths[1:] / lengths[:-1] / 2
    further[~further.isfinite()] = 0
    return towards * (1 + further), -towards * further
