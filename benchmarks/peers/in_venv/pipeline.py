"""What every peer runs: stock diffusers, a list of prompts at a time, and Pillow's PNG.

The files of this folder run in a peer's venv; they import nothing of Leyden's.
"""

import io
import json
import os
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

SETTINGS_VARIABLE = "LEYDEN_BENCHMARK_SETTINGS"
STEPS = 4


def settings() -> dict[str, Any]:
    """Return what this server was started with: folder, port and its own settings."""
    value: dict[str, Any] = json.loads(os.environ[SETTINGS_VARIABLE])
    return value


class Generator:
    """One pipeline, with as many torch threads as the settings give it."""

    def __init__(
        self, folder: str, threads: int, device: str = "cpu", dtype: str = "float32"
    ) -> None:
        torch.set_num_threads(threads)
        self._pipeline = StableDiffusionXLPipeline.from_pretrained(
            folder, dtype=getattr(torch, dtype), add_watermarker=False
        ).to(device)
        self._pipeline.set_progress_bar_config(disable=True)
        if device != "cpu":
            for module in (self._pipeline.unet, self._pipeline.vae):
                module.to(memory_format=torch.channels_last)

    def images(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        """Generate one image for each prompt, at the model's native size, in one batch."""
        images: list[Image.Image] = self._pipeline(
            list(prompts),
            num_inference_steps=STEPS,
            guidance_scale=0.0,
            latents=self._noise(seeds),
        ).images
        return images

    def _noise(self, seeds: Sequence[int]) -> torch.Tensor:
        """Return what diffusers draws from the seeds in float32, on a CPU and for a GPU alike."""
        config = self._pipeline.unet.config
        shape = (config.in_channels, config.sample_size, config.sample_size)
        noise = [
            torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        return torch.stack(noise).to(self._pipeline.unet.dtype)


def png(image: Image.Image) -> bytes:
    """Encode as a user would: Pillow's PNG as it comes."""
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
