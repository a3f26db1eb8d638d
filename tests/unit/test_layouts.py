"""What a config is said to be made of is what diffusers and transformers make of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from leyden_server.checkpoint.clip_layout import clip_layout
from leyden_server.checkpoint.layout import Layout
from leyden_server.checkpoint.part_configs import check_text_encoder, check_unet, check_vae
from leyden_server.checkpoint.unet_layout import unet_layout
from leyden_server.checkpoint.vae_layout import vae_layout
from leyden_server.model_repository.item import SHIPPED_MODELS

BASE = SHIPPED_MODELS / "leyden-tiny-base"

SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 2,
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""SDXL base 1.0's, as its unet/config.json has it; what is left away is the default."""

UNETS = {
    "SDXL": SDXL_UNET,
    "guidance embedded": SDXL_UNET | {"time_cond_proj_dim": 256},
    "convolutions as projections": SDXL_UNET | {"use_linear_projection": False},
    "layers and depths of their own": SDXL_UNET
    | {
        "layers_per_block": [1, 2, 1],
        "transformer_layers_per_block": [1, [2, 3], 4],
        "reverse_transformer_layers_per_block": [[4, 1], [1, 2, 3], 1],
    },
    "another middle": SDXL_UNET | {"mid_block_type": "UNetMidBlock2D"},
    "attention everywhere": SDXL_UNET
    | {
        "down_block_types": ["CrossAttnDownBlock2D"] * 3,
        "up_block_types": ["CrossAttnUpBlock2D"] * 3,
    },
    "another time embedding": SDXL_UNET | {"time_embedding_dim": 64},
}


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def shapes_of(layout: Layout) -> dict[str, tuple[int, ...]]:
    return {name: parameter.shape for name, parameter in layout.items()}


@pytest.mark.parametrize("name", UNETS)
def test_a_unet_is_laid_out_as_diffusers_builds_it(name: str) -> None:
    config = check_unet(UNETS[name], Path("config.json"))
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    assert shapes_of(unet_layout(config)) == shapes(unet)


def test_a_config_is_completed_by_diffusers_own_defaults() -> None:
    path = BASE / "unet" / "config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known = check_unet(config, path)
    assert known.items() <= dict(UNet2DConditionModel.from_config(config).config).items()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2},
        {"mid_block_add_attention": True},
        {"use_quant_conv": False, "use_post_quant_conv": False},
    ],
)
def test_a_vae_is_laid_out_as_diffusers_builds_it(changes: dict[str, Any]) -> None:
    path = BASE / "vae" / "config.json"
    config = check_vae(json.loads(path.read_text(encoding="utf-8")) | changes, path)
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    assert shapes_of(vae_layout(config)) == shapes(vae)


@pytest.mark.parametrize("projection", [False, True])
def test_a_text_encoder_is_laid_out_as_transformers_builds_it(projection: bool) -> None:
    path = BASE / ("text_encoder_2" if projection else "text_encoder") / "config.json"
    config = check_text_encoder(json.loads(path.read_text(encoding="utf-8")), path)
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    with torch.device("meta"):
        encoder = kind(CLIPTextConfig(**config))
    found = {
        name if name.startswith("text_") else f"text_model.{name}": shape
        for name, shape in shapes(encoder).items()
    }
    assert shapes_of(clip_layout(config, projection=projection)) == found
