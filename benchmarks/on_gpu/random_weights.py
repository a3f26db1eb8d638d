"""Random weights under which a wrong output shows.

As they are initialised, the UNet hardly heeds prompts and timesteps and the VAE decodes to
grey: any two runs would agree. So conditioning is strengthened, and what comes out is scaled
to what trained weights give: noise of unit variance, pixels of deviation 0.3.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from benchmarks.on_gpu.architecture import TOKENS, Architecture
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["random_unet", "resolved", "write_text_encoders", "write_vae"]

SHIPPED_MODEL = "leyden-tiny-lightning-4step"
"""Its noise schedule is SDXL-Lightning's, and its tokenizers stand in for SDXL's: what a text
encoder costs does not depend on which tokens it reads."""

GAINS = {
    "attn2.to_q": 2.0,
    "attn2.to_k": 2.0,
    "attn2.to_v": 2.0,
    "attn2.to_out.0": 2.0,
    "time_emb_proj": 2.0,
    "add_embedding.linear_2": 4.0,
    "time_embedding.linear_2": 4.0,
}
CALIBRATION_SIDE = 16
PIXEL_DEVIATION = 0.3


@torch.no_grad()
def random_unet(
    architecture: Architecture, *, rounded_to: torch.dtype, device: torch.device, seed: int
) -> UNet2DConditionModel:
    """Build a float32 UNet on `device`, its weights values that `rounded_to` has too.

    So a copy in that dtype has the very same weights, and only the arithmetic differs.
    """
    torch.manual_seed(seed)
    with device:
        unet = architecture.build_unet()
    for name, module in unet.named_modules():
        for suffix, gain in GAINS.items():
            if name.endswith(suffix):
                module.weight.mul_(gain)
    _round(unet, rounded_to)
    _scale(unet.conv_out, 1 / _noise_pred(architecture, unet, device).std())
    _round(unet.conv_out, rounded_to)
    return unet


def _noise_pred(
    architecture: Architecture, unet: UNet2DConditionModel, device: torch.device
) -> torch.Tensor:
    rows, side = 2, CALIBRATION_SIDE
    with device:
        noise_pred: torch.Tensor = unet(
            torch.randn(rows, architecture.unet["in_channels"], side, side),
            torch.tensor([999.0, 499.0]),
            encoder_hidden_states=torch.randn(
                rows, TOKENS, architecture.unet["cross_attention_dim"]
            ),
            added_cond_kwargs={
                "text_embeds": torch.randn(rows, architecture.pooled_width),
                "time_ids": torch.tensor([[1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0]] * rows),
            },
            return_dict=False,
        )[0]
    return noise_pred


@torch.no_grad()
def write_vae(
    folder: Path, architecture: Architecture, *, dtype: torch.dtype, device: torch.device, seed: int
) -> None:
    """Write a VAE in `dtype` into the diffusers folder `folder`."""
    torch.manual_seed(seed)
    with device:
        vae: AutoencoderKL = architecture.build_vae()
        channels = architecture.vae["latent_channels"]
        latents = torch.randn(2, channels, CALIBRATION_SIDE, CALIBRATION_SIDE)
    latents /= vae.config.scaling_factor
    conv_out = vae.decoder.conv_out
    _scale(conv_out, PIXEL_DEVIATION / vae.decode(latents).sample.std())
    conv_out.bias.sub_(vae.decode(latents).sample.mean(dim=(0, 2, 3)))
    vae.to(dtype).save_pretrained(folder / "vae", safe_serialization=True)


def write_text_encoders(
    folder: Path, architecture: Architecture, *, dtype: torch.dtype, device: torch.device, seed: int
) -> None:
    """Write both text encoders in `dtype`, and tokenizers, into the diffusers folder `folder`."""
    torch.manual_seed(seed)
    with device:
        text_encoders = architecture.build_text_encoders()
    for name, text_encoder in zip(("text_encoder", "text_encoder_2"), text_encoders, strict=True):
        text_encoder.to(dtype).save_pretrained(folder / name, safe_serialization=True)
    shipped = ModelRepository().resolve(SHIPPED_MODEL).base_folder
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(shipped / name, folder / name)


def resolved(folder: Path | None = None) -> ResolvedModel:
    """Return what the stages are given, with `folder` for its diffusers folder."""
    shipped = ModelRepository().resolve(SHIPPED_MODEL)
    if folder is None:
        return shipped
    files = {
        "text_encoder": (folder / "text_encoder" / "model.safetensors",),
        "text_encoder_2": (folder / "text_encoder_2" / "model.safetensors",),
        "vae": (folder / "vae" / "diffusion_pytorch_model.safetensors",),
    }
    return replace(shipped, base_folder=folder, base_files=files)


def _scale(layer: torch.nn.Module, factor: torch.Tensor) -> None:
    for parameter in layer.parameters():
        parameter.mul_(factor)


def _round(module: torch.nn.Module, dtype: torch.dtype) -> None:
    if dtype != torch.float32:
        for parameter in module.parameters():
            parameter.copy_(parameter.to(dtype))
