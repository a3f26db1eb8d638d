"""Doubling an image by nearest neighbours and the 3 x 3 convolution after it, as one product.

Each pixel of the image is four alike in the doubled one, so the nine that a 3 x 3 kernel reads
there are only 2 x 2 pixels of the image. Which of the nine fall together depends on whether the
pixel that is made is an upper or a lower, a left or a right one of its four. In one dimension, with
weights a b c before, at and after the pixel:

    upper or left    a x[i - 1] + (b + c) x[i]
    lower or right   (a + b) x[i] + c x[i + 1]

So one 2 x 2 convolution with four times the channels makes all four, with 4/9 of the
multiplications and without a doubled image in memory between. (Sub-pixel convolution, Shi et al.
2016, arXiv 1609.05158, after Aitken et al. 2017, arXiv 1707.02937, who note that it holds nearest
neighbours and a convolution.)
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from diffusers.models.upsampling import Upsample2D

from leyden_server.accelerator.triton_kernels import kernels_for

__all__ = ["Upsample", "phase_weights", "replace_upsamples"]

KERNELS = "leyden_server.accelerator.upsample_kernel"


def replace_upsamples(module: torch.nn.Module) -> None:
    """Put one of ours, with the same weights, in the place of each that it can stand for."""
    for name, upsample in list(module.named_modules()):
        if type(upsample) is Upsample2D and _is_known(upsample):
            module.set_submodule(name, Upsample(upsample))


def _is_known(upsample: Upsample2D) -> bool:
    """Say whether it is nearest neighbours and then a 3 x 3 convolution with a bias."""
    return (
        upsample.use_conv
        and not upsample.use_conv_transpose
        and upsample.name == "conv"
        and upsample.norm is None
        and upsample.interpolate
        and type(upsample.conv) is torch.nn.Conv2d
        and upsample.conv.kernel_size == (3, 3)
        and upsample.conv.padding == (1, 1)
        and upsample.conv.bias is not None
    )


class Upsample(torch.nn.Module):
    """diffusers' Upsample2D; for inference alone.

    It holds 16/9 of the convolution's weights besides its own: a size that is not the double, as
    latents of odd sides have it, is made by those.
    """

    def __init__(self, upsample: Upsample2D) -> None:
        """Take over the convolution, in its dtype and on its device."""
        super().__init__()
        self.conv: torch.nn.Conv2d = upsample.conv
        weights = phase_weights(self.conv.weight).contiguous(memory_format=torch.channels_last)
        assert self.conv.bias is not None
        self.register_buffer("phase_weights", weights, persistent=False)
        self.phase_weights: torch.Tensor
        self.register_buffer("phase_bias", self.conv.bias.detach().repeat(4), persistent=False)
        self.phase_bias: torch.Tensor

    def forward(
        self, hidden_states: torch.Tensor, output_size: torch.Size | None = None
    ) -> torch.Tensor:
        """Return (B, C', 2 H, 2 W), or of the size (height, width) that is given."""
        if output_size is not None:
            resized = F.interpolate(hidden_states, size=list(output_size), mode="nearest")
            convolved: torch.Tensor = self.conv(resized)
            return convolved
        kernels = kernels_for(hidden_states, KERNELS)
        if kernels is None:
            return placed(F.conv2d(hidden_states, self.phase_weights, self.phase_bias, padding=1))
        # Added with the bias of its own, a convolution would make one more pass over its result.
        phases = F.conv2d(hidden_states, self.phase_weights, padding=1)
        phases = phases.contiguous(memory_format=torch.channels_last)
        by_triton: torch.Tensor = kernels.placed(phases, self.conv.bias)
        return by_triton


def phase_weights(weight: torch.Tensor) -> torch.Tensor:
    """Return (4 C', C, 2, 2) of a 3 x 3 convolution's weights (C', C, 3, 3), added in float32.

    In order the weights of the upper left pixels, the upper right, lower left and lower right.
    """
    first, second, third = weight.float().unbind(2)
    upper = torch.stack([first, second + third], dim=2)
    lower = torch.stack([first + second, third], dim=2)
    phases = []
    for rows in (upper, lower):
        first, second, third = rows.unbind(3)
        phases.append(torch.stack([first, second + third], dim=3))
        phases.append(torch.stack([first + second, third], dim=3))
    return torch.cat(phases).to(weight.dtype)


def placed(phases: torch.Tensor) -> torch.Tensor:
    """Return (B, C, 2 H, 2 W), channels last, of phases (B, 4 C, H + 1, W + 1)."""
    phases = phases.contiguous(memory_format=torch.channels_last)
    rows, channels, height, width = phases.shape
    channels, height, width = channels // 4, height - 1, width - 1
    # Pixel (2 i + a, 2 j + b) is phase 2 a + b of (i + a, j + b): all in one copy.
    right = 4 * channels
    down = right * (width + 1)
    shape = (rows, height, 2, width, 2, channels)
    strides = (down * (height + 1), down, down + 2 * channels, right, right + channels, 1)
    pixels = torch.as_strided(phases, shape, strides).contiguous()
    return pixels.view(rows, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
