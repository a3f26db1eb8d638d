"""A Gateway that is stopped while it starts: whatever it was about, `stop` ends it."""

import asyncio
from pathlib import Path

import pytest
from support.house import StubDenoiser, StubTextEncoder, StubVae, catalog_of

from leyden_server.config import GatewayConfig
from leyden_server.controller.metrics_address import MetricsAddress
from leyden_server.gateway.server import GatewayServer
from leyden_server.model_repository import ModelRepository
from leyden_server.stages.contract import ModelStages


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 21, 34])
async def test_a_start_that_is_broken_off_can_be_stopped(tmp_path: Path, turns: int) -> None:
    gateway = _gateway()
    starting = asyncio.create_task(gateway.start("127.0.0.1:0", metrics_folder=tmp_path))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await gateway.stop(0.0)


async def test_the_turns_reach_to_the_end_of_a_start(tmp_path: Path) -> None:
    gateway = _gateway()
    starting = asyncio.create_task(gateway.start("127.0.0.1:0", metrics_folder=tmp_path))
    turns = 0
    while not starting.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 1, "it gives the loop a turn at least, so that it can be broken off"
    await gateway.stop(0.0)


def _gateway() -> GatewayServer:
    with MetricsAddress(GatewayConfig(metrics_port=0)) as page:
        config = GatewayConfig(metrics_port=page.port)
    stages = ModelStages(StubTextEncoder(), StubDenoiser(), StubVae())
    model = ModelRepository().resolve("leyden-tiny-lightning-4step")
    return GatewayServer(config, catalog_of([model], config, stages), [], replica="gateway")
