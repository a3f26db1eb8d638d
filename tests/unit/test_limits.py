"""How much comes in: a message's size, a connection's calls."""

import asyncio
from typing import Any

import grpc
import pytest
from support.gateways import generate, held, let, read, read_until, until
from support.house import house
from support.patience import PATIENCE_S

from leyden.v1 import image_generation_service_pb2 as pb


async def test_a_message_over_the_limit_is_refused_with_words() -> None:
    async with house(max_request_bytes=2000) as home:
        assert (await read(generate(home, prompt="x" * 1500)))[-1].HasField("summary")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(generate(home, prompt="x" * 2500))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in (caught.value.details() or "")
        assert "2000" in (caught.value.details() or "")
        # The connection lives on.
        assert (await read(generate(home, prompt="x")))[-1].HasField("summary")


async def test_a_connection_has_so_many_calls_and_the_rest_wait_at_the_client() -> None:
    async with house(denoiser=held(), max_streams_per_connection=2) as home:
        calls = [generate(home, request_id=f"r{n}") for n in range(2)]
        for call in calls:
            await read_until(call, "text_encoded")
        third = generate(home, request_id="r2")
        waits = asyncio.ensure_future(third.read())
        asked = pb.WatchGenerationRequest(request_id="r0")
        other: Any
        async with grpc.aio.insecure_channel(
            home.address, [("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            other = home.stub_of(channel).WatchGeneration(asked, timeout=PATIENCE_S)
            await read_until(other, "text_encoded")  # another connection is not held up
            other.cancel()
        assert not waits.done()
        assert set(home.generations.names) == {"r0", "r1"}
        calls[0].cancel()
        await until(waits.done)
        assert waits.result().request_id == "r2"
        let(home)
        await read(third)
        await read(calls[1])
