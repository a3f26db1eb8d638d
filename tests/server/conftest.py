from collections.abc import Iterator
from pathlib import Path

import pytest
from support.random_sdxl import write_random_sdxl
from support.running_server import RunningServer
from support.trace_collector import TraceCollector, collecting

from leyden_server.config import ServerConfig
from leyden_server.controller.in_process import InProcessServer
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


KINDS = ("in-process", "ray")
"""How a server runs. What holds for one holds for the other: modules that say so run on both."""


def config_of(random_model: Path, collector: TraceCollector) -> ServerConfig:
    """Return the config of a server with three models, whose line is as short as it may be.

    Its traces go to `collector`.

    How many rows pay is a reading of the moment on a shared machine; here they all do.
    """
    return ServerConfig().replace(
        models=[LIGHTNING, BASE, RANDOM],
        model_repository=[random_model.parent],
        gateway={"port": 0, "max_waiting_images": 8, "trace_endpoint": collector.endpoint},
        denoiser={"measure_batch_rows": False},
        vae={"tile_px": TILE_PX},
    )


@pytest.fixture(scope="session")
def collector() -> Iterator[TraceCollector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def in_process_server(random_model: Path, collector: TraceCollector) -> Iterator[RunningServer]:
    with InProcessServer(config_of(random_model, collector)) as started:
        yield RunningServer(started)


@pytest.fixture(scope="session")
def ray_server(random_model: Path, collector: TraceCollector) -> Iterator[RunningServer]:
    with LeydenServer(config_of(random_model, collector)) as started:
        yield RunningServer(started)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> RunningServer:
    """A server in this process, or over Ray where a test is parametrized so."""
    kind = getattr(request, "param", KINDS[0])
    name = {"in-process": "in_process_server", "ray": "ray_server"}[kind]
    running: RunningServer = request.getfixturevalue(name)
    return running
