"""What each picture of a dataset is: its scene, size and captions, known before it is rendered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leyden_training.data.captions import Caption, caption
from leyden_training.data.render import MAX_SIZE_PX, MIN_SIZE_PX
from leyden_training.data.scene import Scene, sample_scene

SQUARE = (256, 256)
SIZE_BUCKETS: dict[tuple[int, int], float] = {
    SQUARE: 0.70,
    (320, 208): 0.10,
    (208, 320): 0.05,
    (288, 224): 0.09,
    (224, 288): 0.06,
}
"""(width, height) in pixels and the share of the pictures of each bucket."""

CAPTIONS_PER_PICTURE = 3

SIDE_MULTIPLE_PX = 16
"""Halves of a side that is a multiple of this still divide by a VAE's factor of 8."""


@dataclass(frozen=True)
class Item:
    """What picture `index` is, before it is rendered."""

    index: int
    scene: Scene
    width_px: int
    height_px: int
    render_seed: int
    captions: tuple[Caption, ...]


def describe(
    seed: int, index: int, size_buckets: dict[tuple[int, int], float] | None = None
) -> Item:
    """Return what picture `index` of the dataset `seed` is."""
    shares = size_buckets or SIZE_BUCKETS
    rng = np.random.default_rng([seed, index])
    scene = sample_scene(rng)
    sizes = tuple(shares)
    weights = np.array(tuple(shares.values()))
    width, height = sizes[int(rng.choice(len(sizes), p=weights / weights.sum()))]
    render_seed = int(rng.integers(2**62))
    captions = tuple(caption(scene, rng) for _ in range(CAPTIONS_PER_PICTURE))
    return Item(index, scene, width, height, render_seed, captions)


def size_buckets(native_px: int) -> dict[tuple[int, int], float]:
    """Return SIZE_BUCKETS scaled to another native side, within what can be rendered.

    Sizes that become the same are one.
    """
    scaled: dict[tuple[int, int], float] = {}
    for (width, height), share in SIZE_BUCKETS.items():
        size = (_scaled(width, native_px), _scaled(height, native_px))
        scaled[size] = scaled.get(size, 0.0) + share
    return scaled


def _scaled(side_px: int, native_px: int) -> int:
    multiples = round(side_px * native_px / SQUARE[0] / SIDE_MULTIPLE_PX)
    return min(MAX_SIZE_PX, max(MIN_SIZE_PX, multiples * SIDE_MULTIPLE_PX))
