"""Writes SDXL folders with random weights, of any size, for measurements.

The weights are diffusers' and transformers' own initialisation: the pictures are noise, and a
step costs what it would cost with trained weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from leyden_server.model_repository.repository import SHIPPED_MODELS

__all__ = ["RandomShape", "write_random_model"]

TOKENIZERS_FROM = SHIPPED_MODELS / "leyden-tiny-base"
ADDITION_TIME_EMBED_DIM = 32
"""Width at which each of the six sizes (add_time_ids) is embedded."""

MODEL_YAML = """\
description: Random weights, for measurements.
license: Apache-2.0
num_inference_steps: {default: 4, min: 1, max: 100}
guidance_scale: {default: 0, min: 0, max: 20}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomShape:
    """What decides a model's cost."""

    sample_size: int
    """Native side of the latents; the image's is eight times that."""
    block_out_channels: tuple[int, ...]
    """Channels of the UNet's blocks; the first has no attention, as in SDXL."""
    layers_per_block: int = 2
    transformer_layers_per_block: int = 1
    text_widths: tuple[int, int] = (256, 384)
    """Widths of the two text encoders."""
    text_layers: int = 6
    vae_block_out_channels: tuple[int, int, int, int] = (16, 32, 64, 96)


def write_random_model(folder: Path, shape: RandomShape, *, seed: int = 0) -> Path:
    """Write a diffusers SDXL folder with its `model.yaml`; return the folder.

    The seed decides every weight. Nothing is downloaded: the tokenizers are those of
    `leyden-tiny-base`.
    """
    transformers.utils.logging.disable_progress_bar()
    first, second = (
        CLIPTokenizer.from_pretrained(TOKENIZERS_FROM / name)
        for name in ("tokenizer", "tokenizer_2")
    )
    first_width, second_width = shape.text_widths
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            tokenizer=first,
            tokenizer_2=second,
            text_encoder=CLIPTextModel(
                _text_config(first, first_width, shape.text_layers, "quick_gelu")
            ),
            text_encoder_2=CLIPTextModelWithProjection(
                _text_config(second, second_width, shape.text_layers, "gelu")
            ),
            unet=_unet(shape),
            vae=_vae(shape),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                timestep_spacing="trailing",
                prediction_type="epsilon",
            ),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "model.yaml").write_text(MODEL_YAML, encoding="utf-8")
    return folder


def _text_config(tokenizer: Any, width: int, layers: int, hidden_act: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=77,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        hidden_act=hidden_act,
    )


def _unet(shape: RandomShape) -> UNet2DConditionModel:
    channels = shape.block_out_channels
    crossed = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=shape.sample_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * crossed),
        up_block_types=(*["CrossAttnUpBlock2D"] * crossed, "UpBlock2D"),
        layers_per_block=shape.layers_per_block,
        transformer_layers_per_block=shape.transformer_layers_per_block,
        # diffusers' name for what is the number of heads here.
        attention_head_dim=tuple(max(1, width // 32) for width in channels),
        cross_attention_dim=sum(shape.text_widths),
        norm_num_groups=_groups(channels),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=ADDITION_TIME_EMBED_DIM,
        projection_class_embeddings_input_dim=shape.text_widths[1] + 6 * ADDITION_TIME_EMBED_DIM,
    )


def _vae(shape: RandomShape) -> AutoencoderKL:
    channels = shape.vae_block_out_channels
    return AutoencoderKL(
        sample_size=8 * shape.sample_size,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=_groups(channels),
        mid_block_add_attention=False,
        scaling_factor=0.13025,
        force_upcast=False,
    )


def _groups(widths: Sequence[int]) -> int:
    return min(32, math.gcd(*widths) // 2)
