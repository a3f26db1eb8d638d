"""ModelStreamInfer over real stages: pixels, several requests at once, and who leaves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest
from server.conftest import BASE, KINDS, LIGHTNING
from support.kserve import array, infer_request, parameters_of, stub_of
from support.patience import PATIENCE_S
from support.running_server import RunningServer, eventually

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb

STEPS = 100
ROWS = 2 * STEPS  # the base model guides by default

pytestmark = pytest.mark.parametrize("server", KINDS, indirect=True)


class Stream:
    """A stream whose requests are sent when a test likes; half-closed by `close`."""

    def __init__(self, server: RunningServer) -> None:
        self._requests: SimpleQueue[pb.ModelInferRequest | None] = SimpleQueue()
        self.call: Any = stub_of(server.channel).ModelStreamInfer(self._sent(), timeout=PATIENCE_S)

    def _sent(self) -> Iterator[pb.ModelInferRequest]:
        yield from iter(self._requests.get, None)

    def send(self, request: pb.ModelInferRequest) -> None:
        self._requests.put(request)

    def close(self) -> None:
        self._requests.put(None)


def test_streamed_images_are_those_of_native_calls(server: RunningServer) -> None:
    stream = Stream(server)
    for seed in (21, 22, 23):
        stream.send(
            infer_request(
                LIGHTNING, ["generated_image", "progress"], request_id=str(seed),
                prompt="a red square", seed=seed,
            )
        )  # fmt: skip
    stream.close()
    steps: dict[str, list[float]] = {}
    images: dict[str, Any] = {}
    for response in stream.call:
        assert not response.error_message
        found = response.infer_response
        progress = array(found, "progress")
        if progress is not None:
            assert found.id not in images
            steps.setdefault(found.id, []).append(progress[0, 0])
        else:
            images[found.id] = array(found, "generated_image")
        assert parameters_of(found)["triton_final_response"] is (progress is None)

    assert steps == {str(seed): [1, 2, 3, 4] for seed in (21, 22, 23)}
    for seed in (21, 22, 23):
        native = server.generate(model=LIGHTNING, prompt="a red square", seed=seed).pixels()
        assert np.abs(images[str(seed)][0].astype(int) - native).max() <= 1


def test_cancelling_a_stream_frees_the_rows_of_all_its_requests(server: RunningServer) -> None:
    before = server.engine_stats(BASE)
    stream = Stream(server)
    for name in ("a", "b"):
        stream.send(
            infer_request(
                BASE, ["progress"], request_id=name, prompt=["x", "y"],
                num_inference_steps=[STEPS] * 2,
            )
        )  # fmt: skip
    for response in stream.call:
        assert not response.error_message
        if array(response.infer_response, "progress")[0, 0] == 3:  # type: ignore[index]
            stream.call.cancel()
            break
    eventually(lambda: server.engine_stats(BASE).aborted == before.aborted + 4)
    after = server.engine_stats(BASE)
    assert 0 < after.unet_rows - before.unet_rows < 4 * ROWS
    assert (after.running, after.waiting) == (0, 0)


CLIENT = """
import sys, grpc, queue
from support.kserve import array, infer_request, stub_of
requests = queue.SimpleQueue()
for name in ("a", "b"):
    requests.put(infer_request(
        sys.argv[2], ["progress"], request_id=name, prompt="x", num_inference_steps=int(sys.argv[3])
    ))
stub = stub_of(grpc.insecure_channel(sys.argv[1]))
for response in stub.ModelStreamInfer(iter(requests.get, None)):
    print(int(array(response.infer_response, "progress")[0, 0]), flush=True)
"""


def test_losing_a_stream_frees_the_rows_of_all_its_requests(server: RunningServer) -> None:
    before = server.engine_stats(BASE)
    command = [sys.executable, "-c", CLIENT, server.address, BASE, str(STEPS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as client:
        assert client.stdout is not None
        for line in client.stdout:
            if line.strip() == "2":
                client.send_signal(signal.SIGKILL)
                break
    eventually(lambda: server.engine_stats(BASE).aborted == before.aborted + 2)
    after = server.engine_stats(BASE)
    assert 0 < after.unet_rows - before.unet_rows < 2 * ROWS
    assert (after.running, after.waiting) == (0, 0)


def test_a_call_that_is_cancelled_frees_its_rows(server: RunningServer) -> None:
    before = server.engine_stats(BASE)
    request = infer_request(BASE, prompt=["x", "y"], num_inference_steps=[STEPS] * 2)
    call = stub_of(server.channel).ModelInfer.future(request)
    eventually(lambda: server.engine_stats(BASE).unet_rows > before.unet_rows)
    call.cancel()
    eventually(lambda: server.engine_stats(BASE).aborted == before.aborted + 2)
    after = server.engine_stats(BASE)
    assert after.unet_rows - before.unet_rows < 2 * ROWS


@pytest.mark.parametrize(
    ("parameters", "timeout"), [({"timeout": 2_000_000}, 300), ({"timeout": 300_000_000}, 2)]
)
def test_the_earlier_of_timeout_and_deadline_frees_the_rows(
    server: RunningServer, parameters: dict[str, int], timeout: float
) -> None:
    before = server.engine_stats(BASE)
    # 1,600 rows: no CPU is through with them in 2 s.
    request = infer_request(
        BASE, parameters=parameters, prompt="x", num_inference_steps=STEPS, image_count=8
    )
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as raised:
        stub_of(server.channel).ModelInfer(request, timeout=timeout)
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 60
    eventually(lambda: server.engine_stats(BASE).aborted == before.aborted + 8)
