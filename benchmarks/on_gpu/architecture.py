"""The shapes that are measured, and what they hold and compute, counted without running them.

SDXL's are the public configs of https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0
(`unet`, `vae`, `text_encoder`, `text_encoder_2`), whatever is diffusers' or transformers'
default left out. The checkpoints of SDXL-Lightning and SDXL-Turbo have the same.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

__all__ = ["SDXL", "TINY", "TOKENS", "Architecture", "Costs"]

TOKENS = 77


@dataclass(frozen=True, slots=True)
class Architecture:
    """Configs of the four models."""

    name: str
    unet: dict[str, Any]
    vae: dict[str, Any]
    text_encoder: dict[str, Any]
    text_encoder_2: dict[str, Any]

    @property
    def vae_scale_factor(self) -> int:
        """Pixels a latent's side stands for."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def pooled_width(self) -> int:
        """Width of pooled_prompt_embeds."""
        return int(self.text_encoder_2["projection_dim"])

    def build_unet(self) -> UNet2DConditionModel:
        """Build the UNet on torch's current default device."""
        return UNet2DConditionModel(**self.unet).eval()

    def build_vae(self) -> AutoencoderKL:
        """Build the VAE on torch's current default device."""
        return AutoencoderKL(**self.vae).eval()

    def build_text_encoders(self) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
        """Build both text encoders on torch's current default device."""
        return (
            CLIPTextModel(CLIPTextConfig(**self.text_encoder)).eval(),
            CLIPTextModelWithProjection(CLIPTextConfig(**self.text_encoder_2)).eval(),
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """What an architecture holds and computes."""

    parameters: dict[str, int]
    """By model; of the VAE all, of which decoding uses the decoder's."""
    text_encoders_flop: int
    """Of one prompt."""
    unet_flop: dict[int, int]
    """Of one row, by the image's side in pixels."""
    vae_flop: dict[int, int]
    """Of one image, by its side in pixels."""

    @classmethod
    def count(cls, architecture: Architecture, sizes_px: tuple[int, ...]) -> "Costs":
        """Count on the meta device, which holds no weights and computes nothing.

        A multiplication and an addition are two; only matrix products, attention and
        convolutions count (torch.utils.flop_counter).
        """
        with torch.device("meta"):
            unet, vae = architecture.build_unet(), architecture.build_vae()
            encoders = architecture.build_text_encoders()
            return cls(
                parameters={
                    "unet": unet.num_parameters(),
                    "vae": vae.num_parameters(),
                    "text_encoder": encoders[0].num_parameters(),
                    "text_encoder_2": encoders[1].num_parameters(),
                },
                text_encoders_flop=sum(_text_encoder_flop(encoder) for encoder in encoders),
                unet_flop={size: _unet_flop(architecture, unet, size) for size in sizes_px},
                vae_flop={size: _vae_flop(architecture, vae, size) for size in sizes_px},
            )

    def as_dict(self) -> dict[str, Any]:
        """Return what the JSON has; FLOP in units of 10^12."""
        return {
            "parameters": self.parameters,
            "text_encoders_tflop_a_prompt": self.text_encoders_flop / 1e12,
            "unet_tflop_a_row": {str(s): flop / 1e12 for s, flop in self.unet_flop.items()},
            "vae_decode_tflop_an_image": {str(s): flop / 1e12 for s, flop in self.vae_flop.items()},
        }


def _unet_flop(architecture: Architecture, unet: UNet2DConditionModel, size_px: int) -> int:
    side = size_px // architecture.vae_scale_factor
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(
            torch.empty(1, architecture.unet["in_channels"], side, side),
            torch.empty(1),
            encoder_hidden_states=torch.empty(1, TOKENS, architecture.unet["cross_attention_dim"]),
            added_cond_kwargs={
                "text_embeds": torch.empty(1, architecture.pooled_width),
                "time_ids": torch.empty(1, 6),
            },
        )
    return int(counter.get_total_flops())


def _vae_flop(architecture: Architecture, vae: AutoencoderKL, size_px: int) -> int:
    side = size_px // architecture.vae_scale_factor
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vae.decode(torch.empty(1, architecture.vae["latent_channels"], side, side))
    return int(counter.get_total_flops())


def _text_encoder_flop(encoder: torch.nn.Module) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, TOKENS, dtype=torch.int64))
    return int(counter.get_total_flops())


SDXL = Architecture(
    name="SDXL",
    unet={
        "sample_size": 128,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    vae={
        "sample_size": 1024,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "scaling_factor": 0.13025,
        "force_upcast": True,
    },
    text_encoder={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
        "projection_dim": 768,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    },
    text_encoder_2={
        "vocab_size": 49408,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "hidden_act": "gelu",
        "projection_dim": 1280,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    },
)

_TINY_TEXT_ENCODER = {
    "vocab_size": 4096,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}

TINY = Architecture(
    name="tiny",
    unet={
        **SDXL.unet,
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "transformer_layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 80,
        "norm_num_groups": 16,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 48 + 6 * 8,
    },
    vae={
        **SDXL.vae,
        "sample_size": 64,
        "block_out_channels": (8, 16, 16, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    text_encoder={
        **_TINY_TEXT_ENCODER,
        "hidden_size": 32,
        "projection_dim": 32,
        "hidden_act": "quick_gelu",
    },
    text_encoder_2={
        **_TINY_TEXT_ENCODER,
        "hidden_size": 48,
        "projection_dim": 48,
        "hidden_act": "gelu",
    },
)
"""SDXL's kinds of layers, of each as few as there can be: for a CPU, to keep the script alive."""
