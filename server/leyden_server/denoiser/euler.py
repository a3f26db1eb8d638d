"""One Euler step for a batch whose rows stand at different steps.

diffusers' schedulers keep one step index for the whole batch; these functions take each
row's own sigmas instead. The arithmetic and its order are those of diffusers'
`EulerDiscreteScheduler.step` (with s_churn = 0) and `EulerAncestralDiscreteScheduler.step`
(Karras et al. 2022, arXiv 2206.00364, algorithm 1; k-diffusion's `sample_euler_ancestral`),
to which tests pin them.

All tensors are float32. B is the number of images, C, H and W are latent channels and sides;
`sigma` and `sigma_next` are (B, 1, 1, 1).
"""

import torch

from leyden_server.model_repository.entry import PredictionType

__all__ = ["ancestral_step", "euler_step", "guide", "pred_original_sample", "scale_model_input"]


def scale_model_input(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Scale latents (B, C, H, W) to the unit variance that the UNet was trained on."""
    return latents / (sigma**2 + 1) ** 0.5


def guide(uncond: torch.Tensor, cond: torch.Tensor, guidance_scale: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

    All are (B, C, H, W) but `guidance_scale`, which is (B, 1, 1, 1).
    """
    return uncond + guidance_scale * (cond - uncond)


def pred_original_sample(
    latents: torch.Tensor, model_output: torch.Tensor, sigma: torch.Tensor, kind: PredictionType
) -> torch.Tensor:
    """Estimate the denoised latents (B, C, H, W) from what the UNet predicts."""
    if kind == "epsilon":
        return latents - sigma * model_output
    if kind == "v_prediction":
        return model_output * (-sigma / (sigma**2 + 1) ** 0.5) + latents / (sigma**2 + 1)
    return model_output


def euler_step(
    latents: torch.Tensor, denoised: torch.Tensor, sigma: torch.Tensor, sigma_next: torch.Tensor
) -> torch.Tensor:
    """Move latents (B, C, H, W) from `sigma` to `sigma_next` along the ODE."""
    derivative = (latents - denoised) / sigma
    return latents + derivative * (sigma_next - sigma)


def ancestral_step(
    latents: torch.Tensor,
    denoised: torch.Tensor,
    sigma: torch.Tensor,
    sigma_next: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Move latents (B, C, H, W) to below `sigma_next` and add `noise` (B, C, H, W) up to it."""
    sigma_up = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    sigma_down = (sigma_next**2 - sigma_up**2) ** 0.5
    derivative = (latents - denoised) / sigma
    return latents + derivative * (sigma_down - sigma) + noise * sigma_up
