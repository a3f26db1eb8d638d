"""Deterministic steps between noise levels, one row at a time.

Latents here are variance preserving, x_t = √ᾱ_t · x_0 + √(1 - ᾱ_t) · ε, as the UNet sees them.
A step of these is a step of Euler's method on x_t / √ᾱ_t, which is how the pipeline samples.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leyden_training.parts import noise_schedule

__all__ = ["NoiseLevels", "Prediction", "add_more_noise", "knots", "pred_original_sample", "step"]

Prediction = Literal["epsilon", "sample"]

CLEAN = -1
"""The timestep of latents without noise, after the last step."""


@dataclass(frozen=True)
class NoiseLevels:
    """ᾱ by timestep."""

    alphas_cumprod: Tensor
    """(1001,), float32: of timesteps 0 … 999, and 1 for `CLEAN`, which indexes the last."""

    @classmethod
    def of_sdxl(cls, device: torch.device) -> "NoiseLevels":
        """SDXL's."""
        alphas = noise_schedule().alphas_cumprod
        return cls(torch.cat([alphas, torch.ones(1)]).to(device))

    def at(self, timesteps: Tensor) -> Tensor:
        """ᾱ of each row, (B,) → (B, 1, 1, 1)."""
        return self.alphas_cumprod[timesteps][:, None, None, None]


def knots(num_inference_steps: int) -> list[int]:
    """Timesteps of a sampling run with trailing spacing, and `CLEAN` at its end."""
    schedule = noise_schedule()
    schedule.set_timesteps(num_inference_steps)
    return [round(t) for t in schedule.timesteps.tolist()] + [CLEAN]


def pred_original_sample(
    latents: Tensor, prediction: Tensor, alpha_bar: Tensor, prediction_type: Prediction
) -> Tensor:
    """x_0 as the UNet's prediction at these latents has it."""
    if prediction_type == "sample":
        return prediction
    return (latents - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()


def step(
    latents: Tensor,
    prediction: Tensor,
    *,
    levels: NoiseLevels,
    timesteps: Tensor,
    next_timesteps: Tensor,
    prediction_type: Prediction = "epsilon",
) -> Tensor:
    """Move each row from its timestep to its next.

    Args:
        latents: (B, 4, H/8, W/8), float32.
        prediction: the UNet's, of the same shape.
        levels: ᾱ by timestep.
        timesteps: (B,), where the rows are.
        next_timesteps: (B,), where they go; `CLEAN` for the end.
        prediction_type: what `prediction` is of.

    """
    alpha_bar, next_alpha_bar = levels.at(timesteps), levels.at(next_timesteps)
    clean = pred_original_sample(latents, prediction, alpha_bar, prediction_type)
    noise = (latents - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
    return next_alpha_bar.sqrt() * clean + (1 - next_alpha_bar).sqrt() * noise


def add_more_noise(
    latents: Tensor, noise: Tensor, *, levels: NoiseLevels, timesteps: Tensor, later: Tensor
) -> Tensor:
    """Take rows at `timesteps` to the noisier `later` by fresh noise."""
    ratio = levels.at(later) / levels.at(timesteps)
    return ratio.sqrt() * latents + (1 - ratio).clamp(min=0).sqrt() * noise
