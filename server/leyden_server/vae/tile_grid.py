"""How latents too large for one run of the VAE are cut: geometry alone, no torch.

Tiles overlap, so that what a tile's edge does to its pixels is cut away with the edge; two
neighbours are blended over a short way in the middle of what they share.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLEND", "OVERLAP", "Axis", "Patch", "Region", "TileGrid"]

if TYPE_CHECKING:
    import torch

Whole = TypeVar("Whole", NDArray[np.float32], "torch.Tensor")

OVERLAP = 16
"""Latents that two neighbouring tiles share, at least. A pixel is never made from latents
nearer than (OVERLAP - BLEND) / 2 to an edge that the image does not have."""

BLEND = 4
"""Latents in the middle of the overlap over which one tile fades into the next."""


MARGIN = 2
"""Latents around a patch that are decoded with it and not counted: what the VAE pads an
edge with is not of the image."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of the latents in `len(starts)` equal tiles of `size` latents."""

    length: int
    size: int
    starts: tuple[int, ...]

    @classmethod
    def cut(cls, length: int, share: int) -> "Axis":
        """Cut into as few tiles as leave no more than `share` latents for each.

        A tile has at most share + OVERLAP of them.
        """
        count = math.ceil(length / share)
        size = math.ceil((length + (count - 1) * OVERLAP) / count)
        return cls(length, size, _spread(length, size, count))

    def patches(self) -> list[tuple[int, int, int, int]]:
        """Cut into twice as many equal patches as tiles, and their margins.

        Each is (start, stop) with its margin, and the (first, last) that are counted,
        relative to start. Those of all patches are the whole side, each latent once.
        """
        count = 2 * len(self.starts)
        size = min(self.length, math.ceil(self.length / count) + 2 * MARGIN)
        patches = []
        for index in range(count):
            first, last = index * self.length // count, (index + 1) * self.length // count
            start = min(max(first - MARGIN, 0), self.length - size)
            patches.append((start, start + size, first - start, last - start))
        return patches

    def kept(self, index: int) -> tuple[int, int]:
        """Return from which latent to which one the image is made from a tile."""
        start = 0 if index == 0 else self._middle(index - 1) - BLEND // 2
        last = index == len(self.starts) - 1
        return start, self.length if last else self._middle(index) + BLEND // 2

    def weights(self, index: int, scale: int) -> NDArray[np.float32]:
        """Return a tile's weight at each pixel that it keeps; all tiles' sum to 1."""
        start, stop = self.kept(index)
        weights = np.ones((stop - start) * scale, dtype=np.float32)
        fade_in = ((np.arange(BLEND * scale) + 0.5) / (BLEND * scale)).astype(np.float32)
        if index > 0:
            weights[: len(fade_in)] = fade_in
        if index < len(self.starts) - 1:
            weights[-len(fade_in) :] = 1 - fade_in
        return weights

    def _middle(self, index: int) -> int:
        """Return the middle of what a tile shares with the next one."""
        return (self.starts[index + 1] + self.starts[index] + self.size) // 2


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the latents."""

    top: int
    left: int
    height: int
    width: int

    def of(self, whole: Whole) -> Whole:
        """Return what of a whole (C, H, W) lies in it."""
        return whole[:, self.top : self.top + self.height, self.left : self.left + self.width]

    def scaled(self, scale: int) -> "Region":
        """Return where it lies with `scale` pixels to a latent."""
        return Region(scale * self.top, scale * self.left, scale * self.height, scale * self.width)


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of the latents with the margin around it."""

    region: Region
    """Of the latents, margin included."""
    inside: Region
    """Of `region`, without the margin."""


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The tiles of one image, row by row."""

    rows: Axis
    columns: Axis

    @classmethod
    def cut(cls, height: int, width: int, share: int) -> "TileGrid":
        """Cut latents (height, width) into tiles for at most share * share latents each."""
        return cls(Axis.cut(height, share), Axis.cut(width, share))

    @property
    def latent_pixels(self) -> int:
        """Latents of one tile."""
        return self.rows.size * self.columns.size

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Yield each tile's row and column."""
        return product(range(len(self.rows.starts)), range(len(self.columns.starts)))

    def region(self, row: int, column: int) -> Region:
        """Return where a tile lies."""
        return Region(
            self.rows.starts[row],
            self.columns.starts[column],
            self.rows.size,
            self.columns.size,
        )

    def samples(self) -> Iterator[list[Patch]]:
        """Yield sets of four patches of one size; all of them together are the image.

        Each set has about a tile's area, spread over the whole image: what a set shows is
        close to what the image is on average, where a tile may be all sky.
        """
        rows, columns = self.rows.patches(), self.columns.patches()
        row_count, column_count = len(self.rows.starts), len(self.columns.starts)
        for row, column in self.tiles():
            yield [
                Patch(
                    Region(top, left, bottom - top, right - left),
                    Region(first_row, first, last_row - first_row, last - first),
                )
                for (top, bottom, first_row, last_row), (left, right, first, last) in product(
                    rows[row::row_count], columns[column::column_count]
                )
            ]


def _spread(length: int, size: int, count: int) -> tuple[int, ...]:
    if count == 1:
        return (0,)
    return tuple(index * (length - size) // (count - 1) for index in range(count))
