"""What a student learns from: steps of its teacher, walked for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor, nn

from leyden_training.distillation.stage import Stage
from leyden_training.distillation.steps import NoiseLevels, knots, step
from leyden_training.latents import LatentDataset
from leyden_training.precision import mixed_precision
from leyden_training.teacher import Conditioning, add_noise, predict

__all__ = ["Encode", "Lesson", "draw_lesson", "draw_noise", "guided", "load_text_encoders"]

Encode = Callable[[Tensor, int, int], Conditioning]


@dataclass(frozen=True)
class Lesson:
    """A batch of steps: where they start, where the teacher ends."""

    start: Tensor
    """(B, 4, H/8, W/8)."""

    timesteps: Tensor
    """(B,), of the starts."""

    next_timesteps: Tensor
    """(B,), of the ends."""

    teacher_end: Tensor
    condition: Conditioning


def load_text_encoders(pipeline_folder: Path, device: torch.device) -> Encode:
    """Make a function from token ids (B, 2, 77), width and height in pixels to conditioning."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        pipeline_folder, unet=None, vae=None, dtype=torch.float32, add_watermarker=False
    )
    encoders = [e.to(device).eval() for e in (pipeline.text_encoder, pipeline.text_encoder_2)]

    @torch.no_grad()
    def encode(token_ids: Tensor, width_px: int, height_px: int) -> Conditioning:
        outputs = [
            encoder(token_ids[:, i], output_hidden_states=True)
            for i, encoder in enumerate(encoders)
        ]
        size = torch.tensor([[height_px, width_px, 0, 0, height_px, width_px]], device=device)
        return Conditioning(
            torch.cat([o.hidden_states[-2] for o in outputs], dim=-1),
            outputs[1].text_embeds,
            size.float().repeat(len(token_ids), 1),
        )

    return encode


@torch.no_grad()
def draw_lesson(
    dataset: LatentDataset,
    teacher: UNet2DConditionModel,
    encode: Encode,
    *,
    levels: NoiseLevels,
    stage: Stage,
    random: np.random.Generator,
    device: torch.device,
) -> Lesson:
    """Draw pictures, noise them to the starts of student steps, and let the teacher walk.

    Steps from the first timestep start at noise alone, at the strength that sampling starts
    with, and not at a picture with a trace left in it.
    """
    bucket, chosen = dataset.draw(stage.batch, random)
    words = random.integers(bucket.token_ids.shape[1], size=stage.batch)
    token_ids = torch.from_numpy(bucket.token_ids[chosen, words]).to(device)
    condition = encode(token_ids, bucket.width_px, bucket.height_px)
    clean = torch.from_numpy(np.array(bucket.latents[chosen], dtype=np.float32)).to(device)
    noise = draw_noise(clean.shape, random, device)

    walk = torch.tensor(knots(stage.teacher_steps), device=device)
    index = torch.from_numpy(random.integers(stage.steps, size=stage.batch)).to(device)
    index = index * stage.substeps
    timesteps = walk[index]
    clean = torch.where((index == 0)[:, None, None, None], 0.0, clean)
    start = add_noise(clean, noise, levels.alphas_cumprod[timesteps])
    start = start.contiguous(memory_format=torch.channels_last)

    latents = start
    for substep in range(stage.substeps):
        at, to = walk[index + substep], walk[index + substep + 1]
        with mixed_precision(device):
            prediction = guided(teacher, latents, at, condition, stage.guidance_scale)
        latents = step(
            latents,
            prediction.float(),
            levels=levels,
            timesteps=at,
            next_timesteps=to,
            prediction_type=stage.teacher_prediction,
        )
    return Lesson(start, timesteps, walk[index + stage.substeps], latents, condition)


def guided(
    unet: nn.Module,
    latents: Tensor,
    timesteps: Tensor,
    condition: Conditioning,
    guidance_scale: float,
) -> Tensor:
    """Predict with classifier-free guidance, or without where the scale is at most 1."""
    if guidance_scale <= 1:
        return predict(unet, latents, timesteps, condition)
    nothing = condition.dropped(torch.zeros(len(latents), device=latents.device))
    both = Conditioning(
        torch.cat([nothing.prompt_embeds, condition.prompt_embeds]),
        torch.cat([nothing.pooled_prompt_embeds, condition.pooled_prompt_embeds]),
        torch.cat([condition.add_time_ids] * 2),
    )
    without, with_prompt = predict(
        unet, torch.cat([latents] * 2), torch.cat([timesteps] * 2), both
    ).chunk(2)
    return without + guidance_scale * (with_prompt - without)


def draw_noise(shape: torch.Size, random: np.random.Generator, device: torch.device) -> Tensor:
    """Draw standard normal noise of a shape."""
    return torch.from_numpy(random.standard_normal(tuple(shape), dtype=np.float32)).to(device)
