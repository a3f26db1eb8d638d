"""The pixels that every image is compared with: those of stock diffusers in fp32."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import safetensors.torch
import torch
import transformers
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def reference_images(
    model_dir: Path,
    *,
    prompt: str,
    seed: int,
    width: int,
    height: int,
    num_inference_steps: int,
    guidance_scale: float,
    negative_prompt: str | None = None,
    image_count: int = 1,
    unet_file: Path | None = None,
    scheduler_class: str | None = None,
    scheduler_overrides: Mapping[str, Any] | None = None,
    timesteps: Sequence[int] | None = None,
    eta: float = 0.0,
) -> list[Image]:
    """Returns what `StableDiffusionXLPipeline` makes, one (H, W, 3) array for each image.

    Image i has the generator seed + i. `unet_file` is a state dict laid over the folder's UNet.
    The scheduler is the folder's, or `scheduler_class` of the folder's config, with
    `scheduler_overrides` laid over that config; `timesteps` are in the place of its own. `eta` is
    TCD's, which the pipeline has at 0 unless told.
    """
    pipeline, folder_scheduler = _load_pipeline(model_dir, unet_file)
    make_scheduler = getattr(diffusers, scheduler_class) if scheduler_class else folder_scheduler
    pipeline.scheduler = make_scheduler.from_config(
        folder_scheduler.config, **(scheduler_overrides or {})
    )
    pixels = pipeline(
        prompt,
        negative_prompt=negative_prompt,
        width=width,
        height=height,
        num_inference_steps=num_inference_steps,
        timesteps=None if timesteps is None else list(timesteps),
        eta=eta,
        guidance_scale=guidance_scale,
        num_images_per_prompt=image_count,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(image_count)],
        output_type="np",
    ).images
    return [(image * 255).round().astype(np.uint8) for image in pixels]


def max_difference(a: Image, b: Image) -> int:
    """Returns the largest difference of two images over all pixels and channels, in 1/255."""
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())


@lru_cache(maxsize=8)
def _load_pipeline(model_dir: Path, unet_file: Path | None) -> tuple[Any, Any]:
    """Returns the pipeline and the scheduler of its folder."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        model_dir, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    if unet_file is not None:
        pipeline.unet.load_state_dict(safetensors.torch.load_file(unet_file))
    return pipeline, pipeline.scheduler
