"""GroupNorms that normalize a part of an image by the statistics of the whole of it.

A GroupNorm takes mean and variance from all that it is given. Given a tile, it takes the
tile's own, and the tile comes out in other colours than it has in the whole image.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from leyden_server.accelerator.group_norm import GroupNorm
from leyden_server.vae.tile_grid import Patch

__all__ = ["ImageStatistics", "SharedGroupNorms"]


class ImageStatistics:
    """Mean and variance of one image at every GroupNorm, gathered from parts of it."""

    def __init__(self) -> None:
        self._area = 0
        self._sums: list[torch.Tensor] = []

    def add(self, area: int, moments: list[torch.Tensor]) -> None:
        """Add the moments (2, groups), mean and mean square, of `area` latents at each norm."""
        sums = [area * one for one in moments]
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._area else sums
        self._area += area

    def moments(self) -> list[torch.Tensor]:
        """Return the mean and the mean square (2, groups) at each norm."""
        return [sums / self._area for sums in self._sums]


class SharedGroupNorms:
    """All GroupNorms of a module. Outside of the two contexts they are plain ones."""

    def __init__(self, module: torch.nn.Module) -> None:
        """Put a norm of ours in the place of each one of `module`."""
        self._norms: list[_SharedGroupNorm] = []
        for name, norm in list(module.named_modules()):
            if isinstance(norm, torch.nn.GroupNorm):
                ours = _SharedGroupNorm(norm)
                module.set_submodule(name, ours)
                self._norms.append(ours)

    @contextmanager
    def observing(self, patches: Sequence[Patch], statistics: ImageStatistics) -> Iterator[None]:
        """Normalize a batch of these patches by what they have in common, and add that."""
        for norm in self._norms:
            norm.patches = patches
        try:
            yield
            area = sum(patch.inside.height * patch.inside.width for patch in patches)
            statistics.add(area, [norm.taken_moments() for norm in self._norms])
        finally:
            for norm in self._norms:
                norm.patches, norm.moments = (), None

    @contextmanager
    def using(self, statistics: ImageStatistics) -> Iterator[None]:
        """Normalize every row by an image's statistics."""
        for norm, moments in zip(self._norms, statistics.moments(), strict=True):
            norm.moments = moments
        try:
            yield
        finally:
            for norm in self._norms:
                norm.moments = None


class _SharedGroupNorm(GroupNorm):
    def __init__(self, norm: torch.nn.GroupNorm) -> None:
        super().__init__(norm)
        self.patches: Sequence[Patch] = ()
        """What the rows of a batch are, where it is to be observed."""
        self.moments: torch.Tensor | None = None
        """What to normalize by (2, groups): mean and mean square."""

    def taken_moments(self) -> torch.Tensor:
        assert self.moments is not None
        return self.moments

    def kernels(self, x: torch.Tensor) -> Any | None:
        """Return the kernels that x (B, C, …) is normalized by; none know other statistics."""
        return None if self.patches or self.moments is not None else super().kernels(x)

    def without_kernels(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize by what is to be shared, and images as tiles are where that is faster.

        That is on a GPU in half precision: decoding a decoder's large images took a third of the
        time on an H200 (41 ms in place of 128 at 1024 x 1024; benchmarks/results/gpu-h200-*).
        """
        if self.patches:
            self.moments = self._moments_of(x)
        if self.moments is not None:
            return self._normalize(x, self.moments)
        if (
            x.dim() == 4
            and x.is_cuda
            and x.dtype != torch.float32
            and not torch.compiler.is_compiling()
        ):
            return self.one_by_one(x)
        return super().without_kernels(x)

    def one_by_one(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize each row of x (B, C, H, W) by its own statistics."""
        rows = [self._normalize(row, self._own_moments(row)) for row in torch.split(x, 1)]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _own_moments(self, row: torch.Tensor) -> torch.Tensor:
        """Return the moments (2, groups) of one row (1, C, H, W)."""
        sums = row.sum((2, 3), dtype=torch.float32)
        squares = torch.linalg.vector_norm(row, dim=(2, 3), dtype=torch.float32).square()
        moments = torch.cat([sums, squares]).double() / row[0, 0].numel()
        return moments.view(2, self.num_groups, -1).mean(2)

    def _normalize(self, x: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
        mean, mean_square = moments
        variance = (mean_square - mean.square()).clamp(min=0)
        channels = self.num_channels // self.num_groups
        # A batch norm with given statistics is this same formula, in one kernel that takes
        # statistics in float32 beside an x in bfloat16.
        return F.batch_norm(
            x,
            mean.float().repeat_interleave(channels),
            variance.float().repeat_interleave(channels),
            None if self.weight is None else self.weight.float(),
            None if self.bias is None else self.bias.float(),
            eps=self.eps,
        )

    def _moments_of(self, x: torch.Tensor) -> torch.Tensor:
        """Return the moments (2, groups) of the insides of all patches, in float64."""
        sums = torch.zeros(2, self.num_channels, dtype=torch.float64, device=x.device)
        count = 0
        for row, patch in zip(x, self.patches, strict=True):
            height, width = patch.region.height, patch.region.width
            # A deeper layer has more pixels to a latent; attention has them in one line.
            scale = math.isqrt(row[0].numel() // (height * width))
            inside = patch.inside.scaled(scale).of(row.reshape(-1, height * scale, width * scale))
            norm = torch.linalg.vector_norm(inside, dim=(1, 2), dtype=torch.float32)
            sums[0] += inside.sum((1, 2), dtype=torch.float32)
            sums[1] += norm.double().square()
            count += inside[0].numel()
        return (sums / count).view(2, self.num_groups, -1).mean(2)
