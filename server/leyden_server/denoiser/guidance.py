"""How a guidance scale acts: on two predictions, or as an input of the UNet."""

import torch

__all__ = ["guidance_embedding", "guide"]


def guide(uncond: torch.Tensor, cond: torch.Tensor, guidance_scale: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

    All are (B, C, H, W) but `guidance_scale`, which is (B, 1, 1, 1).
    """
    return uncond + guidance_scale * (cond - uncond)


def guidance_embedding(guidance_scale: float, width: int) -> torch.Tensor:
    """Embed a scale as a UNet reads it that was distilled with guidance (its `timestep_cond`).

    Returns (width,) float32: sines, then cosines, of 1,000 (scale - 1) at falling frequencies, and
    a 0 where the width is odd. Meng et al. 2022, arXiv 2210.03142; Luo et al. 2023, arXiv
    2310.04378.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * (-torch.log(torch.tensor(10_000.0)) / (half - 1)))
    angles = torch.tensor(guidance_scale - 1) * 1000.0 * frequencies
    return torch.cat([angles.sin(), angles.cos(), torch.zeros(width % 2)])
