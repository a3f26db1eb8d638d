"""The ResNet block of UNet and VAE with fewer passes over its images.

On a GPU in half precision a pass over an image's memory costs about what a tenth of a convolution
does, and diffusers' block makes one for each norm's SiLU, each convolution's bias, the time
embedding and the sum at its end. Here SiLU, the first convolution's bias and the time embedding
are done by the norms (`group_norm.py`); what is left of the biases is added with the sum, in one
kernel.

On a CPU convolutions add their biases as they go, so the operators are diffusers' and in its order;
what nobody else holds is changed in place. The shortcut's 1 x 1 convolution is a matrix product
there that adds itself to what the second one has made: 0.7 to 0.8 of the time of both in turn.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from diffusers.models.resnet import ResnetBlock2D

from leyden_server.accelerator.group_norm import GroupNorm
from leyden_server.accelerator.triton_kernels import kernels_for

__all__ = ["ResnetBlock", "replace_resnet_blocks"]

KERNELS = "leyden_server.accelerator.resnet_block_kernel"


def replace_resnet_blocks(module: torch.nn.Module) -> None:
    """Put a block of ours, with the same weights, in the place of each that it can stand for."""
    for name, block in list(module.named_modules()):
        if type(block) is ResnetBlock2D and _is_known(block):
            module.set_submodule(name, ResnetBlock(block))


def _is_known(block: ResnetBlock2D) -> bool:
    """Say whether it is a block as SDXL's are: nothing resized, the embedding only added."""
    convolutions = [block.conv1, block.conv2]
    if block.conv_shortcut is not None:
        convolutions.append(block.conv_shortcut)
    return (
        # A VAE's blocks have no embedding, and say "group".
        (block.time_embedding_norm == "default" or block.time_emb_proj is None)
        and not block.skip_time_act
        and block.upsample is None
        and block.downsample is None
        and block.output_scale_factor == 1.0
        and isinstance(block.nonlinearity, torch.nn.SiLU)
        and all(type(norm) is torch.nn.GroupNorm for norm in (block.norm1, block.norm2))
        and all(type(one) is torch.nn.Conv2d and one.bias is not None for one in convolutions)
        and (block.conv_shortcut is None or block.conv_shortcut.kernel_size == (1, 1))
    )


class ResnetBlock(torch.nn.Module):
    """diffusers' ResnetBlock2D, its parameters by their names; for inference alone."""

    def __init__(self, block: ResnetBlock2D) -> None:
        """Take over the weights, in their dtype and on their device."""
        super().__init__()
        self.norm1 = GroupNorm(block.norm1)
        self.conv1: torch.nn.Conv2d = block.conv1
        self.time_emb_proj: torch.nn.Linear | None = block.time_emb_proj
        self.norm2 = GroupNorm(block.norm2)
        self.conv2: torch.nn.Conv2d = block.conv2
        self.conv_shortcut: torch.nn.Conv2d | None = block.conv_shortcut
        assert self.conv2.bias is not None
        bias = self.conv2.bias.detach().float()
        if self.conv_shortcut is not None:
            assert self.conv_shortcut.bias is not None
            bias = bias + self.conv_shortcut.bias.detach().float()
        self.register_buffer("last_bias", bias, persistent=False)
        self.last_bias: torch.Tensor

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        """Return (B, C', H, W) of an image (B, C, H, W) and a time's embedding (B, E)."""
        kernels = kernels_for(input_tensor, KERNELS)
        if kernels is None:
            return self.without_kernels(input_tensor, temb)
        x = input_tensor.contiguous(memory_format=torch.channels_last)
        h = _without_bias(self.conv1, self.norm1(x, silu=True))
        embedded = self._embedded(temb)
        h = self.norm2(h, channel_addend=self.conv1.bias, row_addend=embedded, silu=True)
        h = _without_bias(self.conv2, h)
        if self.conv_shortcut is not None:
            x = _without_bias(self.conv_shortcut, x)
        by_triton: torch.Tensor = kernels.add(x, h, self.last_bias)
        return by_triton

    def without_kernels(self, x: torch.Tensor, temb: torch.Tensor | None) -> torch.Tensor:
        """Do the same by torch's operators."""
        h: torch.Tensor = self.conv1(self.norm1(x, silu=True))
        embedded = self._embedded(temb)
        if embedded is not None:
            h += embedded[:, :, None, None]
        h = self.norm2(h, silu=True)
        if self.conv_shortcut is None:
            h = self.conv2(h)
            h += x
        elif x.is_cuda:
            h = self.conv2(h)
            h += self.conv_shortcut(x)
        else:
            h = self.conv2._conv_forward(h, self.conv2.weight, self.last_bias.to(h.dtype))
            h = h.contiguous(memory_format=torch.channels_last)
            weight = self.conv_shortcut.weight.flatten(1)
            _as_matrix(h).addmm_(_as_matrix(x), weight.t())
        return h

    def _embedded(self, temb: torch.Tensor | None) -> torch.Tensor | None:
        """Return what a time's embedding (B, E) adds to each channel (B, C')."""
        if self.time_emb_proj is None:
            assert temb is None
            return None
        assert temb is not None
        embedded: torch.Tensor = self.time_emb_proj(F.silu(temb))
        return embedded


def _as_matrix(x: torch.Tensor) -> torch.Tensor:
    """Return images (B, C, H, W) as (B H W, C): a view where they lie channels last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _without_bias(convolution: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Return (B, C', H, W), channels last."""
    convolved: torch.Tensor = convolution._conv_forward(x, convolution.weight, None)
    return convolved.contiguous(memory_format=torch.channels_last)
