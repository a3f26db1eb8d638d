"""ModelStatistics after requests of both kinds, against what the stages did."""

from typing import Any

import grpc
import pytest
from server.conftest import BASE
from support.kserve import infer_request, stub_of
from support.patience import PATIENCE_S
from support.running_server import RunningServer, eventually

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb

STEPS = 4
IMAGES = 2


@pytest.fixture
def inference(server: RunningServer) -> Any:
    return stub_of(server.channel)


def statistics(inference: Any) -> pb.ModelStatistics:
    request = pb.ModelStatisticsRequest(name=BASE)
    (one,) = inference.ModelStatistics(request, timeout=PATIENCE_S).model_stats
    assert isinstance(one, pb.ModelStatistics)
    return one


def runs_by_rows(one: pb.ModelStatistics) -> dict[int, int]:
    return {batch.batch_size: batch.compute_infer.count for batch in one.batch_stats}


def test_a_request_is_counted_with_its_parts(server: RunningServer, inference: Any) -> None:
    before, engine = statistics(inference), server.engine_stats(BASE)
    request = infer_request(
        BASE, ["seed"], prompt="a grey stone", num_inference_steps=STEPS, image_count=IMAGES
    )
    inference.ModelInfer(request, timeout=PATIENCE_S)
    done = before.inference_stats.success.count + 1
    eventually(lambda: statistics(inference).inference_stats.success.count == done)

    now, runs = statistics(inference), server.engine_stats(BASE).unet_batches - engine.unet_batches
    assert now.inference_count - before.inference_count == IMAGES
    assert now.execution_count - before.execution_count == runs
    assert now.inference_stats.fail.count == before.inference_stats.fail.count
    assert now.last_inference > before.last_inference
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    took_ns = {
        part: getattr(now.inference_stats, part).ns - getattr(before.inference_stats, part).ns
        for part in (*parts, "success")
    }
    assert all(took_ns[part] > 0 for part in parts)
    assert sum(took_ns[part] for part in parts) <= took_ns["success"]
    by_rows, earlier = runs_by_rows(now), runs_by_rows(before)
    assert sum(by_rows.values()) - sum(earlier.values()) == runs
    rows = sum(size * (count - earlier.get(size, 0)) for size, count in by_rows.items())
    assert rows == 2 * STEPS * IMAGES
    decoded = sum(batch.batch_size * batch.compute_output.count for batch in now.batch_stats)
    before_it = sum(batch.batch_size * batch.compute_output.count for batch in before.batch_stats)
    assert decoded - before_it == IMAGES


def test_a_streams_responses_are_counted_by_their_numbers(
    server: RunningServer, inference: Any
) -> None:
    before = statistics(inference)
    request = infer_request(
        BASE, ["progress", "image"], prompt="a grey stone", num_inference_steps=STEPS
    )
    responses = list(inference.ModelStreamInfer(iter([request]), timeout=PATIENCE_S))
    assert len(responses) == STEPS + 1

    def counts(one: pb.ModelStatistics, what: str) -> list[int]:
        numbers = [str(index) for index in range(STEPS + 1)]
        return [getattr(one.response_stats[number], what).count for number in numbers]

    def more(what: str) -> list[int]:
        now, then = counts(statistics(inference), what), counts(before, what)
        return [a - b for a, b in zip(now, then, strict=True)]

    eventually(lambda: more("success") == [1] * (STEPS + 1))
    assert more("compute_infer") == [1] * STEPS + [0]
    assert more("compute_output") == [0] * STEPS + [1]
    assert more("fail") == more("empty_response") == more("cancel") == [0] * (STEPS + 1)


def test_a_client_that_leaves_a_stream_is_a_failure(inference: Any) -> None:
    before = statistics(inference)
    request = infer_request(BASE, ["progress", "image"], prompt="x", num_inference_steps=100)
    call = inference.ModelStreamInfer(iter([request]), timeout=PATIENCE_S)
    for _ in range(2):
        next(call)
    call.cancel()
    failed = before.inference_stats.fail.count + 1
    eventually(lambda: statistics(inference).inference_stats.fail.count == failed)
    now = statistics(inference)
    assert now.inference_stats.success.count == before.inference_stats.success.count
    assert now.inference_stats.fail.ns > before.inference_stats.fail.ns
    cancelled, earlier = (
        sum(each.cancel.count for each in one.response_stats.values()) for one in (now, before)
    )
    assert cancelled == earlier + 1


def test_a_request_that_fails_on_a_stream_is_counted_there(inference: Any) -> None:
    before = statistics(inference)
    request = infer_request(BASE, ["image"], prompt="x", num_inference_steps=100_000)
    (response,) = inference.ModelStreamInfer(iter([request]), timeout=PATIENCE_S)
    assert response.error_message.startswith(grpc.StatusCode.INVALID_ARGUMENT.name)
    now = statistics(inference)
    assert now.inference_stats.fail.count == before.inference_stats.fail.count + 1
    assert now.inference_stats.success.count == before.inference_stats.success.count


def test_a_batch_of_rows_is_one_request(inference: Any) -> None:
    before = statistics(inference)
    request = infer_request(
        BASE, ["seed"], prompt=["a grey stone", "a red fox"], num_inference_steps=[1, 1]
    )
    inference.ModelInfer(request, timeout=PATIENCE_S)
    done = before.inference_stats.success.count + 1
    eventually(lambda: statistics(inference).inference_stats.success.count == done)
    assert statistics(inference).inference_count == before.inference_count + 2


def test_a_batch_with_a_wrong_row_is_one_failure(inference: Any) -> None:
    before = statistics(inference)
    request = infer_request(BASE, ["seed"], prompt=["a grey stone", ""], num_inference_steps=[1, 1])
    with pytest.raises(grpc.RpcError):
        inference.ModelInfer(request, timeout=PATIENCE_S)
    failed = before.inference_stats.fail.count + 1
    eventually(lambda: statistics(inference).inference_stats.fail.count == failed)
    assert statistics(inference).inference_stats.success.count == (
        before.inference_stats.success.count
    )
