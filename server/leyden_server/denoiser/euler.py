"""Euler's steps: for N steps the factors of `StepWeights`, from sigmas (N + 1,) that end in 0.

Karras et al. 2022, arXiv 2206.00364, algorithm 1, and k-diffusion's `sample_euler_ancestral`, as
diffusers' `EulerDiscreteScheduler` (with s_churn = 0) and `EulerAncestralDiscreteScheduler` take
them, to which tests pin these. diffusers' schedulers keep one step index for the whole batch; a
row of these stands for itself.
"""

import torch

from leyden_server.denoiser.step_weights import Move

__all__ = ["ancestral_move", "euler_move"]


def euler_move(sigmas: torch.Tensor) -> Move:
    """Return what moves latents from each sigma to the next along the ODE."""
    sigma, sigma_next = sigmas[:-1], sigmas[1:]
    kept, zeros = sigma_next / sigma, torch.zeros_like(sigma)
    return kept, 1 - kept, zeros, zeros


def ancestral_move(sigmas: torch.Tensor) -> Move:
    """Return what moves latents to below the next sigma, and by noise up to it."""
    sigma, sigma_next = sigmas[:-1], sigmas[1:]
    sigma_up = sigma_next * (1 - (sigma_next / sigma) ** 2) ** 0.5
    kept = sigma_next**2 / sigma**2  # sigma_down is the next sigma squared over this one
    return kept, 1 - kept, torch.zeros_like(sigma), sigma_up
