"""Trajectory consistency distillation's strategic stochastic sampling, as `StepWeights`' factors.

Zheng et al. 2024, arXiv 2402.19159, as diffusers' `TCDScheduler` takes its steps, to
which tests pin these. The latents' variance is 1.
"""

import torch

from leyden_server.denoiser.step_weights import Move

__all__ = ["tcd_move"]


def tcd_move(timesteps: torch.Tensor, alphas_cumprod: torch.Tensor, eta: float) -> Move:
    """Return what leads along the trajectory past the next timestep, and by noise back up to it.

    `timesteps` (N,) int64 index `alphas_cumprod` (T,) float64. `eta`, gamma in the paper, is the
    share of the way from the next timestep to 0 that is gone and noised again. The last step ends
    at timestep 0.
    """
    following = torch.cat([timesteps[1:], torch.zeros_like(timesteps[:1])])
    # In float32, as diffusers has it: in float64 a product may fall on the other side of a floor.
    passed = torch.floor((1 - eta) * following).to(torch.int64)
    alpha, alpha_passed = alphas_cumprod[timesteps], alphas_cumprod[passed]
    kept = ((1 - alpha_passed) / (1 - alpha)) ** 0.5
    back = alphas_cumprod[following] / alpha_passed
    towards = alpha_passed**0.5 - alpha**0.5 * kept
    return back**0.5 * kept, back**0.5 * towards, torch.zeros_like(kept), (1 - back) ** 0.5
