from collections.abc import Iterator
from pathlib import Path

import pytest
from support.random_sdxl import write_random_sdxl
from support.running_server import RunningServer

from leyden_server.config import ServerConfig
from leyden_server.launcher import LeydenServer
from leyden_server.model_repository.repository import SHIPPED_MODELS

LIGHTNING = "leyden-tiny-lightning-4step"
BASE = "leyden-tiny-base"
RANDOM = "random-sdxl"


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
    return folder


@pytest.fixture(scope="session")
def server(random_model: Path) -> Iterator[RunningServer]:
    """A server with three models, whose line is as short as it may be."""
    config = ServerConfig().replace(
        models=[LIGHTNING, BASE, RANDOM],
        model_repository=[random_model.parent],
        gateway={"port": 0, "max_waiting_images": 8},
    )
    with LeydenServer(config) as started:
        yield RunningServer(started)
