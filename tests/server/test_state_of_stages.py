"""What a real server says of its stages while it works."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from server.conftest import BASE, LIGHTNING, RANDOM
from support.patience import PATIENCE_S
from support.running_server import RunningServer, eventually

from leyden.v1 import model_service_pb2 as pb


def state_of(server: RunningServer) -> pb.GetServerStateResponse:
    call: Any = server.models.GetServerState
    found: pb.GetServerStateResponse = call(pb.GetServerStateRequest(), timeout=PATIENCE_S)
    return found


def test_every_stage_is_there_once_and_models_share_them(server: RunningServer) -> None:
    stages = {stage.name: stage for stage in state_of(server).stages}
    denoisers = [f"leyden-denoiser-{name}" for name in (LIGHTNING, BASE, RANDOM)]
    assert {*denoisers} < {*stages}
    assert len(stages) == 7, "two bases, and a UNet for each of three models"
    for stage in stages.values():
        assert (stage.running_replicas, stage.wanted_replicas) == (1, 1)
        assert 0 <= stage.busy_share <= 1
        assert not stage.problem
    (shared,) = [
        one for one in stages.values() if "text-encoder" in one.name and BASE in one.models
    ]
    assert {*shared.models} == {LIGHTNING, BASE}


def test_who_works_is_busy_and_named_as_what_holds_up_the_others(server: RunningServer) -> None:
    name, stop = f"leyden-denoiser-{BASE}", threading.Event()

    def ask() -> None:
        while not stop.is_set():
            server.generate(model=BASE, num_inference_steps=20, image_count=2, timeout=PATIENCE_S)

    def is_busiest() -> bool:
        state = state_of(server)
        stage = next(one for one in state.stages if one.name == name)
        return stage.busy_share > 0.3 and stage.running_count > 0 and state.bottleneck == name

    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(ask) for _ in range(3)]
        try:
            eventually(is_busiest, every_s=0.1)
            state = state_of(server)
            assert state.bottleneck_reason.startswith(f"{name} ran for ")
            assert state.gateways[0].open_stream_count > 0
        finally:
            stop.set()
        for one in asking:
            one.result(PATIENCE_S)
