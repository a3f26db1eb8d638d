"""tritonclient's asyncio client: calls side by side, streams, cancelling."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from triton_clients.with_tritonclient.calls import (
    MODEL,
    PATIENCE_S,
    is_final,
    names,
    seeds,
    size,
    texts,
    wanted,
)
from tritonclient.grpc.aio import InferenceServerClient as Client
from tritonclient.utils import InferenceServerException


async def test_calls_run_side_by_side(aio_client: Client) -> None:
    assert await aio_client.is_server_ready()
    assert (await aio_client.get_model_metadata(MODEL)).name == MODEL
    answers = await asyncio.gather(
        *(
            aio_client.infer(
                MODEL, [texts("prompt", "a lake"), seeds(n), *size()], client_timeout=PATIENCE_S
            )
            for n in range(4)
        )
    )
    assert [answer.as_numpy("seed").item() for answer in answers] == [0, 1, 2, 3]


async def test_errors_have_their_code(aio_client: Client) -> None:
    with pytest.raises(InferenceServerException) as raised:
        await aio_client.infer(MODEL, [texts("prompt", "")])
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_a_stream_answers_all_that_is_put_into_it(aio_client: Client) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for n in range(3):
            yield {
                "model_name": MODEL,
                "inputs": [texts("prompt", "a lake" if n != 1 else ""), seeds(n), *size()],
                "outputs": wanted("image", "seed"),
                "request_id": str(n),
            }

    found, errors = {}, []
    async for result, error in aio_client.stream_infer(requests()):
        if error is not None:
            errors.append(error.message())
        else:
            assert is_final(result)
            assert names(result) == ["image", "seed"]
            found[result.get_response().id] = result.as_numpy("seed").item()
    assert found == {"0": 0, "2": 2}
    assert len(errors) == 1
    assert errors[0].startswith("INVALID_ARGUMENT")


async def test_a_cancelled_stream_ends_at_once(aio_client: Client) -> None:
    ended = asyncio.Event()

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": MODEL, "inputs": [texts("prompt", "a lake"), *size(side=512)]}
        await ended.wait()

    stream = aio_client.stream_infer(requests())
    result, error = await anext(stream)
    assert error is None
    assert "progress" in names(result)
    assert stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        [reply async for reply in stream]
    ended.set()
    answer = await aio_client.infer(MODEL, [texts("prompt", "a lake"), *size()])
    assert answer.as_numpy("image") is not None
