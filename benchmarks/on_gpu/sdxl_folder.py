"""A diffusers folder of SDXL's shape with random weights, for whole servers."""

import json
from pathlib import Path

import diffusers
import torch
from diffusers import EulerDiscreteScheduler
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from benchmarks.on_gpu.architecture import Architecture
from benchmarks.on_gpu.random_weights import (
    random_unet,
    resolved,
    write_text_encoders,
    write_vae,
)

__all__ = ["MODEL", "PROMPT", "STEPS", "write_model"]

MODEL = "random-sdxl"
PROMPT = "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere"
STEPS = 4

MODEL_YAML = """\
description: Random weights of SDXL's shape.
license: Apache-2.0
noise_schedule: {solvers: [euler], timestep_spacing: trailing, prediction_type: epsilon}
num_inference_steps: {default: 4, min: 1, max: 50}
guidance_scale: {default: 0, min: 0, max: 20}
"""


def write_model(
    folder: Path, architecture: Architecture, device: torch.device, dtype: torch.dtype
) -> Path:
    """Write a diffusers folder with its `model.yaml`; return the folder."""
    folder.mkdir()
    write_text_encoders(folder, architecture, dtype=dtype, device=device, seed=0)
    write_vae(folder, architecture, dtype=dtype, device=device, seed=0)
    unet = random_unet(architecture, rounded_to=dtype, device=device, seed=0).to(dtype)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    EulerDiscreteScheduler.from_config(resolved().scheduler_config).save_pretrained(
        folder / "scheduler"
    )
    classes = {
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", CLIPTextModel.__name__],
        "text_encoder_2": ["transformers", CLIPTextModelWithProjection.__name__],
        "tokenizer": ["transformers", CLIPTokenizer.__name__],
        "tokenizer_2": ["transformers", CLIPTokenizer.__name__],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": diffusers.__version__,
        "force_zeros_for_empty_prompt": True,
        **classes,
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.yaml").write_text(MODEL_YAML, encoding="utf-8")
    return folder
