"""Who leaves costs no more: cancel, disconnect, deadline; and who may not come in."""

import json
import signal
import subprocess
import sys
import time
import uuid

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from server.conftest import BASE, KINDS, LIGHTNING
from support.running_server import RunningServer, details_of, eventually, request

STEPS = 100
ROWS = 2 * STEPS  # the base model guides by default

pytestmark = pytest.mark.parametrize("server", KINDS, indirect=True)


def decoder_of(server: RunningServer) -> str:
    bill = server.generate(model=BASE, num_inference_steps=1).summary.bill
    return bill.images[0].image_decoder_replica.split("#")[0]


def assert_that_it_left(
    server: RunningServer, before: int, aborted: int, decoder: str, images: int = 1
) -> None:
    """The engine dropped the image long before its end, and nobody decoded anything."""
    calls = server.decoder_calls(decoder)
    eventually(lambda: server.engine_stats(BASE).aborted == aborted + images)
    after = server.engine_stats(BASE)
    assert 0 < after.unet_rows - before < images * ROWS
    assert (after.running, after.waiting) == (0, 0)
    # A request that runs now has the engine alone: nothing else takes rows.
    server.generate(model=BASE, num_inference_steps=4)
    assert server.engine_stats(BASE).unet_rows == after.unet_rows + 2 * 4
    assert server.decoder_calls(decoder) == calls + 1


def test_a_cancelled_request_frees_its_rows(server: RunningServer) -> None:
    decoder, stats = decoder_of(server), server.engine_stats(BASE)
    call = server.images.GenerateImage(request(model=BASE, num_inference_steps=STEPS))
    for event in call:
        if event.denoise_progress.step == 3:
            call.cancel()
            break
    assert_that_it_left(server, stats.unet_rows, stats.aborted, decoder)


def test_a_deadline_that_passes_frees_the_rows(server: RunningServer) -> None:
    decoder, stats = decoder_of(server), server.engine_stats(BASE)
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as raised:
        # 1,600 rows: no CPU is through with them in 2 s.
        server.generate(model=BASE, num_inference_steps=STEPS, image_count=8, timeout=2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 10
    assert_that_it_left(server, stats.unet_rows, stats.aborted, decoder, images=8)


CLIENT = """
import sys, grpc
from leyden.v1 import image_generation_service_pb2 as pb, image_generation_service_pb2_grpc as g
stub = g.ImageGenerationServiceStub(grpc.insecure_channel(sys.argv[1]))
for event in stub.GenerateImage(pb.GenerateImageRequest(
        prompt="x", model=sys.argv[2], num_inference_steps=int(sys.argv[3]))):
    print(event.denoise_progress.step, flush=True)
"""


def test_a_client_that_is_killed_frees_the_rows(server: RunningServer) -> None:
    decoder, stats = decoder_of(server), server.engine_stats(BASE)
    command = [sys.executable, "-c", CLIENT, server.address, BASE, str(STEPS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        for line in client.stdout:
            if line.strip() == "2":
                client.send_signal(signal.SIGKILL)
                break
    assert_that_it_left(server, stats.unet_rows, stats.aborted, decoder)


def test_every_request_has_its_line_in_the_log(server: RunningServer) -> None:
    server.generate(request_id="log-ok", seed=3)
    with pytest.raises(grpc.RpcError):
        server.generate(request_id="log-wrong", width_px=3)
    with pytest.raises(grpc.RpcError):
        server.generate(width_px=7)  # it has no id of its own: the server draws one
    call = server.images.GenerateImage(
        request(model=BASE, num_inference_steps=STEPS, request_id="log-cancelled")
    )
    for event in call:
        if event.denoise_progress.step == 2:
            call.cancel()
            break
    with pytest.raises(grpc.RpcError):
        server.generate(model=BASE, num_inference_steps=STEPS, request_id="log-late", timeout=0.4)

    def lines() -> dict[str, dict[str, object]]:
        records = map(json.loads, server.request_log.read_text().splitlines())
        return {record["request_id"]: record for record in records}

    eventually(lambda: {"log-ok", "log-wrong", "log-cancelled", "log-late"} <= set(lines()))
    found = lines()
    assert found["log-ok"]["code"] == "OK"
    assert found["log-ok"]["unet_rows"] == 4
    assert found["log-ok"]["seed"] == 3
    assert found["log-wrong"]["code"] == "INVALID_ARGUMENT"
    assert found["log-wrong"]["reason"] == "INVALID_FIELD"
    assert found["log-wrong"]["model"] == LIGHTNING
    unnamed = next(record for record in found.values() if "got 7" in str(record["message"]))
    assert uuid.UUID(str(unnamed["request_id"]))
    assert found["log-cancelled"]["code"] == "CANCELLED"
    assert found["log-late"]["code"] == "DEADLINE_EXCEEDED"


def test_beyond_the_line_requests_are_refused_with_the_expected_wait(
    server: RunningServer,
) -> None:
    calls = []
    refused: grpc.RpcError | None = None
    try:
        for _ in range(12):
            call = server.images.GenerateImage(
                request(model=BASE, num_inference_steps=STEPS, image_count=4)
            )
            calls.append(call)
            try:
                next(call)
            except grpc.RpcError as error:
                refused = error
                break
        assert refused is not None, "48 images found room in a line of 8"
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = details_of(refused)
        assert details[ErrorInfo].reason == "QUEUE_FULL"
        assert details[ErrorInfo].metadata["max_waiting_images"] == "8"
        assert details[RetryInfo].retry_delay.ToTimedelta().total_seconds() > 0
    finally:
        for call in calls:
            call.cancel()

    def empty() -> bool:
        stats = server.engine_stats(BASE)
        return (stats.running, stats.waiting) == (0, 0)

    eventually(empty)
    assert server.generate(model=BASE, num_inference_steps=4).of("image")
