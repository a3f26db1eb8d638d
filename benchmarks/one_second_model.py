"""A random-weight SDXL that takes about a second an image on one core of this machine."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from benchmarks.in_process import Pipeline
from benchmarks.random_model import RandomShape, write_random_model
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["one_second_model", "one_second_shape"]

SMALLEST = RandomShape(sample_size=32, block_out_channels=(96, 192, 384))
"""256 x 256 px: a second an image on a core of some 34 GFLOP/s in float32."""

SIDES = (32, 40, 48, 56, 64, 80, 96)
"""Native sides of the latents to choose from; a faster machine has a larger image."""

STEPS = 4


@cache
def one_second_shape() -> RandomShape:
    """Return the shape of which one image takes closest to a second, with one torch thread.

    One image of the smallest is timed, once a process; the cost is taken to grow with the area.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _written(SMALLEST) as model:
            pipeline = Pipeline(model)
            seconds = min(pipeline.timed("a prompt", seed, steps=STEPS) for seed in range(3))
    finally:
        torch.set_num_threads(before)
    costs = {side: seconds * (side / SMALLEST.sample_size) ** 2 for side in SIDES}
    return replace(SMALLEST, sample_size=min(costs, key=lambda side: abs(costs[side] - 1)))


@contextmanager
def one_second_model(*, quick: bool) -> Iterator[ResolvedModel]:
    """Write the model to a temporary folder; a far smaller one where it is `quick`."""
    tiny = RandomShape(sample_size=8, block_out_channels=(32, 64))
    with _written(tiny if quick else one_second_shape()) as model:
        yield model


@contextmanager
def _written(shape: RandomShape) -> Iterator[ResolvedModel]:
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as folder:
        written = write_random_model(Path(folder) / "random-sdxl", shape)
        yield ModelRepository([written]).resolve(written.name)
