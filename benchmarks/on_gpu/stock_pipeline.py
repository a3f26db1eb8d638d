"""Stock diffusers in this process, as its documentation has it, channels last beside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from benchmarks.on_gpu.sdxl_folder import STEPS

__all__ = ["load_pipeline", "run_pipeline"]


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a diffusers folder."""
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, add_watermarker=False
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    for module in (pipeline.unet, pipeline.vae):
        module.to(memory_format=torch.channels_last)
    return pipeline


def run_pipeline(pipeline: Any, prompts: list[str], seeds: Sequence[int]) -> Any:
    """Return pixels (B, H, W, 3) uint8, from the noise that the server draws for the seeds."""
    config = pipeline.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    # In float32: in bfloat16 torch draws other numbers from the same seed.
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    images = pipeline(
        prompts,
        num_inference_steps=STEPS,
        guidance_scale=0.0,
        latents=torch.stack(noise).to(pipeline.unet.dtype),
    ).images
    return np.stack([np.asarray(image) for image in images])
