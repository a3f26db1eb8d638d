"""Several replicas of a stage in one process, and stages that share the cores."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from server.conftest import BASE
from support.running_server import Reply, RunningServer

from leyden.v1 import model_service_pb2 as pb
from leyden_server.config import ServerConfig
from leyden_server.controller.in_process import InProcessServer

STEPS = 4
SEEDS = range(8)


@pytest.fixture(scope="module")
def two_of_each() -> Iterator[RunningServer]:
    config = ServerConfig().replace(
        models=[BASE],
        gateway={"port": 0},
        text_encoder={"torch_threads": 0},
        denoiser={"min_replicas": 2, "max_replicas": 2, "torch_threads": 0},
        vae={"min_replicas": 2, "max_replicas": 2, "torch_threads": 0},
    )
    with InProcessServer(config) as started:
        yield RunningServer(started)


def test_images_that_come_at_once_are_spread_and_are_those_that_came_alone(
    two_of_each: RunningServer,
) -> None:
    def generate(seed: int) -> Reply:
        return two_of_each.generate(
            model=BASE, prompt="a lake", seed=seed, num_inference_steps=STEPS
        )

    alone = [generate(seed) for seed in SEEDS]
    with ThreadPoolExecutor(len(SEEDS)) as clients:
        together = list(clients.map(generate, SEEDS))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.pixels().astype(int) - other.pixels()).max() <= 1
    denoisers = {
        image.denoiser_replica for reply in together for image in reply.summary.bill.images
    }
    assert denoisers == {f"leyden-denoiser-{BASE}#1", f"leyden-denoiser-{BASE}#2"}
    vaes = {
        image.image_decoder_replica for reply in together for image in reply.summary.bill.images
    }
    assert len(vaes) == 2


def test_all_replicas_are_told_of_and_their_counts_add_up(two_of_each: RunningServer) -> None:
    before = two_of_each.engine_stats(BASE)
    two_of_each.generate(model=BASE, num_inference_steps=STEPS)
    assert two_of_each.engine_stats(BASE).retired == before.retired + 1
    state = two_of_each.models.GetServerState(pb.GetServerStateRequest())
    replicas = {stage.kind: stage.running_replicas for stage in state.stages}
    assert sorted(replicas.values()) == [1, 2, 2]
