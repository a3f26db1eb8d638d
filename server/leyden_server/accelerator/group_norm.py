"""GroupNorm as a GPU runs it on images in half precision.

torch's own sums an image up with one thread block for each of its 32 groups, where an H100 has
132 multiprocessors, and first copies an image that lies channels last, once there and once
back. Compiled code fuses torch's own, and does neither.

Here the pixels are cut into parts that are summed up at the same time. A row's parts do not
depend on the other rows of its batch, so neither does what becomes of it. What a ResNet block does
before and after a norm, adding by channel and SiLU, is done in the norm's own passes.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from diffusers import UNet2DConditionModel
from diffusers.models.autoencoders.vae import Decoder

from leyden_server.accelerator.triton_kernels import kernels_for

__all__ = ["GroupNorm", "GroupNormSiLU", "join_last_norm", "replace_group_norms"]

KERNELS = "leyden_server.accelerator.group_norm_kernels"


def replace_group_norms(module: torch.nn.Module) -> None:
    """Put a norm of ours, with the same weights, in the place of each one of `module`."""
    for name, norm in list(module.named_modules()):
        if type(norm) is torch.nn.GroupNorm:
            module.set_submodule(name, GroupNorm(norm))


def join_last_norm(module: UNet2DConditionModel | Decoder) -> None:
    """Let the last norm of a UNet or a VAE's decoder take SiLU of its result itself."""
    if type(module.conv_norm_out) is torch.nn.GroupNorm and type(module.conv_act) is torch.nn.SiLU:
        module.conv_norm_out = GroupNormSiLU(module.conv_norm_out)
        module.conv_act = torch.nn.Identity()


class GroupNorm(torch.nn.GroupNorm):
    """torch's GroupNorm, faster on a GPU; for inference alone."""

    def __init__(self, norm: torch.nn.GroupNorm) -> None:
        """Take over the weights of `norm`."""
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        self.weight, self.bias = norm.weight, norm.bias

    def forward(
        self,
        x: torch.Tensor,
        *,
        channel_addend: torch.Tensor | None = None,
        row_addend: torch.Tensor | None = None,
        silu: bool = False,
    ) -> torch.Tensor:
        """Normalize x (B, C, …) plus what is added to its channels, and take SiLU of that if asked.

        `channel_addend` is (C,), `row_addend` (B, C).
        """
        kernels = self.kernels(x)
        if kernels is None:
            for addend in (channel_addend, row_addend):
                if addend is not None:
                    x = x + addend.view(-1, x.shape[1], *[1] * (x.dim() - 2))
            normalized = self.without_kernels(x)
            # In place: the norm's result is nobody else's.
            return F.silu(normalized, inplace=True) if silu else normalized
        # As the weights of convolutions are laid. A transformer block gives back another layout,
        # which the convolution after this norm would have copied.
        x = x.contiguous(memory_format=torch.channels_last)
        by_triton: torch.Tensor = kernels.group_norm(
            x,
            self.num_groups,
            self.weight,
            self.bias,
            self.eps,
            channel_addend=channel_addend,
            row_addend=row_addend,
            silu=silu,
        )
        return by_triton

    def kernels(self, x: torch.Tensor) -> Any | None:
        """Return the kernels that x (B, C, …) is normalized by, or None."""
        return kernels_for(x, KERNELS) if x.dim() == 4 and self.weight is not None else None

    def without_kernels(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize x (B, C, …) by torch's operators."""
        return super().forward(x)


class GroupNormSiLU(torch.nn.Module):
    """A GroupNorm and the SiLU after it; for inference alone."""

    def __init__(self, norm: torch.nn.GroupNorm) -> None:
        """Take over the weights of `norm`."""
        super().__init__()
        self.norm = GroupNorm(norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return SiLU of x (B, C, …) normalized."""
        normalized: torch.Tensor = self.norm(x, silu=True)
        return normalized
