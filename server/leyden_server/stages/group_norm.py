"""GroupNorm as a GPU runs it on images that lie channels last in half precision.

torch's own sums an image up with one thread block for each of its 32 groups, where an H100 has
132 multiprocessors, and first copies an image that lies channels last, once there and once
back. Compiled code fuses torch's own, and does neither.

Here the pixels are cut into parts that are summed up at the same time. A row's parts do not
depend on the other rows of its batch, so neither does what becomes of it. Where Triton does not
run, torch's operators stand in: the same formula in more passes.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from leyden_server.stages.triton_kernels import triton_kernels

__all__ = ["GroupNorm", "replace_group_norms"]

KERNELS = "leyden_server.stages.group_norm_kernels"


def replace_group_norms(module: torch.nn.Module) -> None:
    """Put a norm of ours, with the same weights, in the place of each one that has weights."""
    for name, norm in list(module.named_modules()):
        if type(norm) is torch.nn.GroupNorm and norm.affine:
            module.set_submodule(name, GroupNorm(norm))


class GroupNorm(torch.nn.GroupNorm):
    """torch's GroupNorm, faster on a GPU; for inference alone."""

    def __init__(self, norm: torch.nn.GroupNorm) -> None:
        """Take over the weights of `norm`, which has some for every channel."""
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize x (B, C, …)."""
        if torch.compiler.is_compiling() or not _is_slow_in_torch(x):
            return super().forward(x)
        # As the weights of convolutions are laid. A transformer block gives back another layout,
        # which the convolution after this norm would have copied.
        x = x.contiguous(memory_format=torch.channels_last)
        kernels = triton_kernels(KERNELS, x.device)
        if kernels is None:
            return self.one_by_one(x)
        normalized: torch.Tensor = kernels.group_norm(
            x, self.num_groups, self.weight, self.bias, self.eps
        )
        return normalized

    def one_by_one(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize each row of x (B, C, H, W) by its own statistics, by torch's operators."""
        rows = [self.normalize(row, self._own_moments(row)) for row in torch.split(x, 1)]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def normalize(self, x: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
        """Normalize x (B, C, …) by given moments (2, groups), mean and mean square, in float64."""
        mean, mean_square = moments
        variance = (mean_square - mean.square()).clamp(min=0)
        channels = self.num_channels // self.num_groups
        # A batch norm with given statistics is this same formula, in one kernel that takes
        # statistics in float32 beside an x in bfloat16.
        return F.batch_norm(
            x,
            mean.float().repeat_interleave(channels),
            variance.float().repeat_interleave(channels),
            self.weight.float(),
            self.bias.float(),
            eps=self.eps,
        )

    def _own_moments(self, row: torch.Tensor) -> torch.Tensor:
        """Return the moments (2, groups) of one row (1, C, H, W)."""
        sums = row.sum((2, 3), dtype=torch.float32)
        squares = torch.linalg.vector_norm(row, dim=(2, 3), dtype=torch.float32).square()
        moments = torch.cat([sums, squares]).double() / row[0, 0].numel()
        return moments.view(2, self.num_groups, -1).mean(2)


def _is_slow_in_torch(x: torch.Tensor) -> bool:
    """Tell whether x is an image on a GPU in half precision."""
    return x.is_cuda and x.dim() == 4 and x.dtype in (torch.bfloat16, torch.float16)
