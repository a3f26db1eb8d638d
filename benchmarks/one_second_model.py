"""A random-weight SDXL that takes about a second an image on one core."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.random_model import RandomShape, write_random_model
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["ONE_SECOND", "one_second_model"]

ONE_SECOND = RandomShape(sample_size=32, block_out_channels=(96, 192, 384))
"""256 x 256 px; four steps of about 0.2 s, and 0.1 s for the rest."""


@contextmanager
def one_second_model(*, quick: bool) -> Iterator[ResolvedModel]:
    """Write the model to a temporary folder; a far smaller one where it is `quick`."""
    shape = RandomShape(sample_size=8, block_out_channels=(32, 64)) if quick else ONE_SECOND
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as folder:
        written = write_random_model(Path(folder) / "random-sdxl", shape)
        yield ModelRepository([written]).resolve(written.name)
