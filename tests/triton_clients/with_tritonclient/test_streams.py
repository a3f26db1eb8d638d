"""tritonclient's streams: steps, images, several requests at once, and how they end."""

from typing import Any

import numpy as np
import pytest
from triton_clients.with_tritonclient.calls import (
    MODEL,
    PATIENCE_S,
    Replies,
    eventually,
    image_index,
    int32,
    is_final,
    names,
    picture,
    seeds,
    size,
    statistics,
    texts,
    wanted,
)
from tritonclient.grpc import InferenceServerClient as Client
from tritonclient.utils import InferenceServerException


def send(client: Client, request_id: str, *inputs: Any, **options: Any) -> None:
    client.async_stream_infer(MODEL, [*inputs, *size()], request_id=request_id, **options)


@pytest.fixture
def replies(client: Client) -> Replies:
    """A stream that is open, and what comes over it."""
    replies = Replies()
    client.start_stream(replies, stream_timeout=PATIENCE_S)
    return replies


def of(found: list[Any], request_id: str) -> list[Any]:
    return [
        result for result, error in found if not error and result.get_response().id == request_id
    ]


def test_steps_come_before_images_and_the_last_response_says_so(
    client: Client, replies: Replies
) -> None:
    send(client, "a", texts("prompt", "a lake"), seeds(5), int32("image_count", 2))
    results = of(replies.until_final(), "a")
    images = [result for result in results if "image" in names(result)]
    steps = [result for result in results if "progress" in names(result)]
    assert [is_final(result) for result in results] == [False] * (len(results) - 1) + [True]
    assert len(steps) == 2 * 4
    assert len(images) == 2
    assert sorted(image_index(result) for result in images) == [0, 1]
    for result in steps:
        step, total, remaining = result.as_numpy("progress").reshape(-1)
        assert 1 <= step <= total == 4
        assert remaining >= 0
    assert picture(images[0].as_numpy("image").item()).format == "PNG"


def test_a_stream_that_asks_for_images_alone_gets_no_steps(
    client: Client, replies: Replies
) -> None:
    send(client, "a", texts("prompt", "a lake"), outputs=wanted("generated_image"))
    results = of(replies.until_final(), "a")
    assert [names(result) for result in results] == [["generated_image"]]


def test_an_empty_final_response_comes_where_it_is_asked_for(
    client: Client, replies: Replies
) -> None:
    send(
        client,
        "a",
        texts("prompt", "a lake"),
        outputs=wanted("image"),
        enable_empty_final_response=True,
    )
    *rest, last = of(replies.until_final(), "a")
    assert names(last) == []
    assert [is_final(result) for result in rest] == [False]


def test_several_requests_share_a_stream_and_one_that_fails_ends_itself_alone(
    client: Client, replies: Replies
) -> None:
    for n in range(3):
        send(client, str(n), texts("prompt", "a lake"), seeds(n), outputs=wanted("image", "seed"))
    send(client, "bad", texts("prompt", ""))
    send(client, "worse", texts("colour", "blue"))
    found = replies.until_final(requests=5)
    errors = [error.message() for _, error in found if error is not None]
    assert len(errors) == 2
    assert all(message.startswith("INVALID_ARGUMENT") for message in errors)
    for n in range(3):
        (result,) = of(found, str(n))
        assert result.as_numpy("seed").item() == n
    send(client, "after", texts("prompt", "a lake"))
    assert is_final(of(replies.until_final(), "after")[-1])


def test_half_closing_finishes_what_is_in_flight(client: Client, replies: Replies) -> None:
    for n in range(2):
        send(client, str(n), texts("prompt", "a lake"), outputs=wanted("image"))
    client.stop_stream()  # waits for the end of the stream
    found = replies.until_final(requests=2)
    assert {result.get_response().id for result, _ in found} == {"0", "1"}
    assert replies.none_left()


def test_cancelling_ends_all_of_a_stream(client: Client, replies: Replies) -> None:
    for n in range(4):
        inputs = [texts("prompt", "a lake"), int32("width_px", 512), int32("height_px", 512)]
        client.async_stream_infer(MODEL, inputs, request_id=str(n))
    result, error = replies.next()
    assert error is None, "the first step"
    failed = statistics(client).inference_stats.fail.count
    client.stop_stream(cancel_requests=True)
    while error is None:
        assert not is_final(result), "it was cancelled amid its steps"
        result, error = replies.next()
    assert error.status() == "StatusCode.CANCELLED"
    eventually(lambda: statistics(client).inference_stats.fail.count >= failed + 4)
    answer = client.infer(MODEL, [texts("prompt", "a lake"), *size()], client_timeout=PATIENCE_S)
    assert answer.as_numpy("image") is not None


def test_errors_become_statuses_by_a_header(client: Client) -> None:
    replies = Replies()
    client.start_stream(replies, stream_timeout=PATIENCE_S, headers={"triton_grpc_error": "true"})
    send(client, "bad", texts("prompt", ""))
    _, error = replies.next()
    assert isinstance(error, InferenceServerException)
    assert error.status() == "StatusCode.INVALID_ARGUMENT"
    assert "prompt" in error.message()


def test_streams_and_calls_give_the_same_image(client: Client, replies: Replies) -> None:
    send(client, "a", texts("prompt", "a lake"), seeds(11), outputs=wanted("generated_image"))
    (streamed,) = of(replies.until_final(), "a")
    called = client.infer(
        MODEL, [texts("prompt", "a lake"), seeds(11), *size()], client_timeout=PATIENCE_S
    )
    one = streamed.as_numpy("generated_image").reshape(-1).astype(int)
    other = called.as_numpy("generated_image").reshape(-1).astype(int)
    assert np.abs(one - other).max() <= 2
