from collections.abc import Iterator
from pathlib import Path

import pytest
from support.random_sdxl import write_random_sdxl
from support.running_server import RunningServer

from leyden_server.config import ServerConfig
from leyden_server.controller.launcher import LeydenServer
from leyden_server.model_repository.repository import SHIPPED_MODELS

LIGHTNING = "leyden-tiny-lightning-4step"
BASE = "leyden-tiny-base"
RANDOM = "random-sdxl"
ABSENT = "absent-sdxl"
TILE_PX = 256
"""Images with more pixels than its square are decoded in tiles."""


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SDXL with other widths, depths and heads than the shipped ones."""
    folder = tmp_path_factory.mktemp("models") / RANDOM
    write_random_sdxl(
        folder,
        tokenizer_from=SHIPPED_MODELS / BASE,
        seed=3,
        force_zeros_for_empty_prompt=False,
    )
    (folder / "model.yaml").write_text("size: {max_px: 2048}\n")
    absent = folder.parent / ABSENT
    absent.mkdir()
    (absent / "model.yaml").write_text("description: No weights.\nbase: ../nowhere\n")
    return folder


@pytest.fixture(scope="session")
def server(random_model: Path) -> Iterator[RunningServer]:
    """A server with three models, whose line is as short as it may be.

    How many rows pay is a reading of the moment on a shared machine; here they all do.
    """
    config = ServerConfig().replace(
        models=[LIGHTNING, BASE, RANDOM],
        model_repository=[random_model.parent],
        gateway={"port": 0, "max_waiting_images": 8},
        denoiser={"measure_batch_rows": False},
        vae={"tile_px": TILE_PX},
    )
    with LeydenServer(config) as started:
        yield RunningServer(started)
