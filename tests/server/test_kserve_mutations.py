"""Two thousand changed requests of KServe's protocol, and the server afterwards."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from server.conftest import LIGHTNING
from support.kserve import array, infer_request, stub_of
from support.kserve_mutations import Mutations
from support.patience import PATIENCE_S
from support.running_server import RunningServer, eventually
from support.scraping import scrape

from leyden_server.config import ServerConfig
from leyden_server.controller.in_process import InProcessServer
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"
REQUESTS = 2000
SEED = 20
IN_FLIGHT = 16
DEFECTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}

GAUGES = (
    "leyden_images_waiting",
    "leyden_images_running",
    "leyden_images_open",
    "leyden_line_requests",
    "leyden_open_streams",
    "leyden_kept_bytes",
    "leyden_unsent_bytes",
    "nv_inference_pending_request_count",
)
"""What is 0 of a server that nobody asks for anything."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    config = ServerConfig().replace(
        models=[LIGHTNING],
        gateway={"port": 0, "max_waiting_images": 8, "shared_memory": True},
        denoiser={"measure_batch_rows": False},
    )
    with InProcessServer(config) as started:
        yield RunningServer(started)


def picture(server: RunningServer) -> Any:
    request = infer_request(LIGHTNING, ["generated_image"], prompt="a red square", seed=5)
    return array(stub_of(server.channel).ModelInfer(request, timeout=PATIENCE_S), "generated_image")


def unary(server: RunningServer, method: str, data: bytes) -> Any:
    return server.channel.unary_unary(SERVICE + method).future(data)


def code_of(call: Any) -> grpc.StatusCode:
    try:
        call.result(timeout=PATIENCE_S)
    except grpc.FutureCancelledError:
        return grpc.StatusCode.CANCELLED
    except grpc.RpcError:
        pass
    code: grpc.StatusCode = call.code()
    return code


def stream(server: RunningServer, requests: list[bytes], responses: int | None) -> list[str]:
    """Send all requests at once and return the codes of errors; cancel after some responses.

    Where it does not cancel, each request has one last response.
    """
    call = server.channel.stream_stream(SERVICE + "ModelStreamInfer")(
        iter(requests), timeout=PATIENCE_S
    )
    codes = []
    finals = 0
    try:
        for number, data in enumerate(call):
            response = pb.ModelStreamInferResponse.FromString(data)
            finals += response.infer_response.parameters["triton_final_response"].bool_param
            if response.error_message:
                codes.append(response.error_message.split(":")[0])
            if number == responses:
                call.cancel()
    except grpc.RpcError as error:
        codes.append(error.code().name)
    assert responses is not None or finals == len(requests)
    return codes


def test_changed_requests_meet_no_defect_and_leave_nothing_behind(server: RunningServer) -> None:
    dice, mutations = random.Random(SEED), Mutations(LIGHTNING, SEED)
    before = picture(server)
    codes: Counter[str] = Counter()
    calls: list[Any] = []
    streams = []
    sent = 0
    with ThreadPoolExecutor(2) as two:
        while sent < REQUESTS:
            kind = dice.random()
            if kind < 0.6:
                calls.append(unary(server, "ModelInfer", mutations.infer()))
                sent += 1
            elif kind < 0.85:
                calls.append(unary(server, *mutations.other()))
                sent += 1
            else:
                requests = [mutations.infer() for _ in range(dice.randint(1, 5))]
                leaves_after = dice.choice((None, None, 0, 2))
                streams.append(two.submit(stream, server, requests, leaves_after))
                sent += len(requests)
            if len(calls) >= IN_FLIGHT:
                call = calls.pop(dice.randrange(len(calls)))
                if dice.random() < 0.2:
                    call.cancel()
                codes[code_of(call).name] += 1
        codes.update(code_of(call).name for call in calls)
        for each in streams:
            codes.update(each.result())

    assert not {code.name for code in DEFECTS} & codes.keys(), codes
    assert codes["INVALID_ARGUMENT"] > REQUESTS / 3  # they were looked at, and not all turned away
    assert codes["OK"] > 0

    def idle() -> bool:
        page = scrape(server.metrics_url)
        return not any(page.total(name) for name in GAUGES)

    def has_no_rows() -> bool:  # a step may still run after the last one has left
        stats = server.engine_stats(LIGHTNING)
        return (stats.waiting, stats.running) == (0, 0)

    eventually(idle)
    eventually(has_no_rows)
    assert np.abs(picture(server).astype(int) - before).max() <= 1
