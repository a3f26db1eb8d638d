"""Latent consistency models' multistep sampling, as the factors of `StepWeights`.

Luo et al. 2023, arXiv 2310.04378, as diffusers' `LCMScheduler` takes its steps, to
which tests pin these. The latents' variance is 1.
"""

import torch

from leyden_server.denoiser.step_weights import Move

__all__ = ["lcm_move"]

SIGMA_DATA = 0.5


def lcm_move(
    timesteps: torch.Tensor, alphas_cumprod: torch.Tensor, timestep_scaling: float
) -> Move:
    """Return what leads to the consistency function's value, and by noise to the next timestep.

    `timesteps` (N,) int64 index `alphas_cumprod` (T,) float64. The function is c_skip * latents +
    c_out * estimate; the last step ends in it.
    """
    scaled = timesteps * timestep_scaling
    c_skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
    c_out = scaled / (scaled**2 + SIGMA_DATA**2) ** 0.5
    alpha_next = torch.cat([alphas_cumprod[timesteps[1:]], torch.ones(1, dtype=torch.float64)])
    signal = alpha_next**0.5
    return signal * c_skip, signal * c_out, torch.zeros_like(signal), (1 - alpha_next) ** 0.5
