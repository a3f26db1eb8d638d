"""The parts of a small SDXL, in diffusers' and transformers' own classes.

Everything is SDXL's, only narrower: two CLIP text encoders whose second to last hidden states
are laid side by side, a UNet with text and time conditioning, an AutoencoderKL with factor 8,
and Euler's noise schedule with SDXL's betas.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.models.resnet import ResnetBlock2D
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

__all__ = [
    "SCALING_FACTOR",
    "ModelShape",
    "alphas_cumprod",
    "build_text_encoders",
    "build_unet",
    "build_vae",
    "embedded_tokenizers",
    "noise_schedule",
    "parameters_of",
    "require_pipeline",
    "require_sdxl_noise",
    "save_pipeline",
]

SCALING_FACTOR = 0.13025
"""What latents are multiplied by between VAE and UNet: SDXL's, from its VAE's config."""

VAE_SCALE_FACTOR = 8


@dataclass(frozen=True)
class ModelShape:
    """Widths and depths of the parts. The defaults are those of the embedded models."""

    native_px: int = 256
    unet_channels: tuple[int, int, int] = (48, 80, 128)
    unet_heads: tuple[int, int, int] = (1, 2, 4)
    unet_norm_groups: int = 8
    time_id_channels: int = 32
    text_widths: tuple[int, int] = (96, 160)
    text_heads: tuple[int, int] = (3, 5)
    text_layers: int = 3
    vae_channels: tuple[int, ...] = (16, 32, 64, 96)
    vae_norm_groups: int = 8

    @property
    def prompt_width(self) -> int:
        """D of `prompt_embeds` (B, 77, D)."""
        return sum(self.text_widths)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what `write` wrote, or a person."""
        return cls.of(json.loads(file.read_text()))

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Make one of what JSON has made of one; what it leaves out is the embedded models'.

        Raises:
            ValueError: there is an unknown key.

        """
        known = list(cls.__dataclass_fields__)
        for name in fields:
            if name not in known:
                near = get_close_matches(name, known, n=1, cutoff=0)[0]
                raise ValueError(f"{name}: unknown key of a shape; the nearest known is {near!r}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)

    def write(self, file: Path) -> None:
        """Write as JSON."""
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")


def build_vae(shape: ModelShape) -> AutoencoderKL:
    """Make a VAE whose residual branches start at zero.

    With diffusers' default initialisation a VAE this narrow collapses to about two latent
    dimensions; starting as a plain chain of convolutions it does not.
    """
    depth = len(shape.vae_channels)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=shape.vae_channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=shape.vae_norm_groups,
        sample_size=shape.native_px,
        scaling_factor=SCALING_FACTOR,
        force_upcast=False,
        mid_block_add_attention=False,
    )
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            torch.nn.init.zeros_(module.conv2.weight)
            torch.nn.init.zeros_(module.conv2.bias)
    return vae


def build_unet(shape: ModelShape) -> UNet2DConditionModel:
    """Make a UNet whose output convolution starts at zero."""
    unet = UNet2DConditionModel(
        sample_size=shape.native_px // VAE_SCALE_FACTOR,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=shape.unet_channels,
        layers_per_block=1,
        transformer_layers_per_block=1,
        attention_head_dim=shape.unet_heads,
        cross_attention_dim=shape.prompt_width,
        norm_num_groups=shape.unet_norm_groups,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=shape.time_id_channels,
        projection_class_embeddings_input_dim=shape.text_widths[1] + 6 * shape.time_id_channels,
    )
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    return unet


def build_text_encoders(
    shape: ModelShape, tokenizer: CLIPTokenizer
) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Make text encoders for the tokenizer's vocabulary."""
    configs = [
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=heads,
            max_position_embeddings=tokenizer.model_max_length,
            hidden_act=activation,
            bos_token_id=tokenizer.bos_token_id,
            # A pruned vocabulary has its own end token; pooling looks for this one.
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        for width, heads, activation in zip(
            shape.text_widths, shape.text_heads, ("quick_gelu", "gelu"), strict=True
        )
    ]
    return CLIPTextModel(configs[0]), CLIPTextModelWithProjection(configs[1])


def embedded_tokenizers() -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Both tokenizers of the embedded models, which are the same.

    CLIP's merges (MIT), pruned to the most frequent 1,800 and those that captions and common
    prompt words use, so that words split as they do in CLIP.
    """
    folder = Path(__file__).parent / "tokenizer"
    return CLIPTokenizer.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)


def noise_schedule(prediction_type: str = "epsilon") -> EulerDiscreteScheduler:
    """Euler's schedule with SDXL's betas and trailing spacing."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        steps_offset=1,
        timestep_spacing="trailing",
        prediction_type=prediction_type,
    )


def alphas_cumprod() -> torch.Tensor:
    """ᾱ of every training timestep, (1000,), float32."""
    alphas: torch.Tensor = noise_schedule().alphas_cumprod
    return alphas


def save_pipeline(
    folder: Path,
    *,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoders: tuple[CLIPTextModel, CLIPTextModelWithProjection],
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
) -> None:
    """Write a folder that `StableDiffusionXLPipeline.from_pretrained` loads, in float16."""
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text_encoders[0],
        text_encoder_2=text_encoders[1],
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=noise_schedule(),
        add_watermarker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder)


def require_pipeline(folder: Path) -> Path:
    """Return the folder if it is a diffusers folder.

    Raises:
        FileNotFoundError: it is none.

    """
    if not (folder / "model_index.json").exists():
        raise FileNotFoundError(
            f"{folder} is no diffusers folder (no model_index.json): `leyden-train export` "
            "writes the teacher's"
        )
    return folder


def require_sdxl_noise(folder: Path) -> Path:
    """Return the diffusers folder if its model predicts as SDXL does: what distillation walks by.

    Raises:
        FileNotFoundError: it is no diffusers folder.
        ValueError: it predicts something else than epsilon, at other noise levels, or takes an
            empty prompt for no prompt.

    """
    require_pipeline(folder)
    found = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    found |= json.loads((folder / "model_index.json").read_text())
    schedule = noise_schedule().config
    names = ("prediction_type", "num_train_timesteps", "beta_schedule", "beta_start", "beta_end")
    wanted = {name: schedule[name] for name in names} | {"force_zeros_for_empty_prompt": True}
    for name, value in wanted.items():
        if found.get(name, value) != value:
            raise ValueError(f"{folder}: {name} is {found[name]!r}; only {value!r} is distilled")
    return folder


def parameters_of(module: torch.nn.Module) -> int:
    """Count the parameters."""
    return sum(math.prod(p.shape) for p in module.parameters())
