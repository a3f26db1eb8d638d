"""The sizes of SDXL's own parts, for files that are looked at without a base.

From the configs of stabilityai/stable-diffusion-xl-base-1.0: what decides the parameters, and no
more.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["SDXL_BASE", "SDXL_SHAPE"]

SDXL_BASE = "stabilityai/stable-diffusion-xl-base-1.0"
"""The hub repository whose sizes they are."""

_CLIP = {"vocab_size": 49408, "max_position_embeddings": 77}

SDXL_SHAPE: Mapping[str, dict[str, Any]] = {
    "unet": {
        "in_channels": 4,
        "block_out_channels": [320, 640, 1280],
        "layers_per_block": [2, 2, 2],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "projection_class_embeddings_input_dim": 2816,
    },
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 4,
    },
    "text_encoder": {
        **_CLIP,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "projection_dim": 768,
    },
    "text_encoder_2": {
        **_CLIP,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "projection_dim": 1280,
    },
}
"""By part, what `layout_of` reads."""
