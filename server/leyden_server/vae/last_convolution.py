"""The last convolution of the VAE's decoder, of three channels, on a GPU in half precision.

Tensor cores take channels by eights. With fewer cuDNN takes another way, which cost 0.2 ms more for
an image of 1024 x 1024 px on an H100 than eight channels of which five are thrown away.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from diffusers.models.autoencoders.vae import Decoder

__all__ = ["LastConvolution", "replace_last_convolution"]

CHANNELS = 8


def replace_last_convolution(decoder: Decoder) -> None:
    """Put one of ours, with the same weights, in the place of the decoder's `conv_out`."""
    convolution = decoder.conv_out
    if type(convolution) is torch.nn.Conv2d and convolution.bias is not None:
        decoder.conv_out = LastConvolution(convolution)


class LastConvolution(torch.nn.Module):
    """A convolution of few channels; for inference alone."""

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        """Take over the convolution, in its dtype and on its device."""
        super().__init__()
        self.convolution = convolution
        missing = -convolution.out_channels % CHANNELS
        weight = F.pad(convolution.weight.detach(), (0, 0, 0, 0, 0, 0, 0, missing))
        weight = weight.contiguous(memory_format=torch.channels_last)
        self.register_buffer("padded_weight", weight, persistent=False)
        self.padded_weight: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C', H, W) of (B, C, H, W)."""
        if x.is_cuda and x.dtype in (torch.bfloat16, torch.float16):
            return self.padded(x)
        convolved: torch.Tensor = self.convolution(x)
        return convolved

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """Do the same with channels of zeros, which are cut off again."""
        convolved: torch.Tensor = self.convolution._conv_forward(x, self.padded_weight, None)
        bias = self.convolution.bias
        assert bias is not None
        return convolved[:, : self.convolution.out_channels] + bias[:, None, None]
