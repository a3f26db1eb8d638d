"""Previews: a linear map from latents to RGB, scaled up and encoded. Microseconds, not a VAE."""

import io

import torch
from PIL import Image

from leyden_server.model_repository.entry import PreviewFactors
from leyden_server.stages.contract import PreviewImage, PreviewRequest

__all__ = ["make_preview"]

PREVIEW_QUALITY = 80


def make_preview(
    denoised: torch.Tensor, factors: PreviewFactors, request: PreviewRequest
) -> PreviewImage:
    """Make a preview of `denoised` (C, H, W), float32 latents on the CPU."""
    weights = torch.tensor(factors.factors)
    rgb = torch.einsum("chw,cr->hwr", denoised, weights) + torch.tensor(factors.bias)
    pixels = (rgb.clamp(0, 1) * 255).round().to(torch.uint8)
    image = Image.fromarray(pixels.numpy(), "RGB")
    if request.size_px:
        scale = request.size_px / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    data = io.BytesIO()
    image.save(data, request.format, quality=PREVIEW_QUALITY)
    return PreviewImage(data.getvalue(), request.format, image.width, image.height)
