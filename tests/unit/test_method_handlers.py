"""A call with a request is served as ever; one without is answered at once."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from support.house import house
from support.patience import PATIENCE_S
from support.raw_http2 import DATA, END_STREAM, HEADERS, raw_connection

from leyden_server.gateway.method_handlers import unary_stream, unary_unary

STREAM, UNARY = "/test.Service/Stream", "/test.Service/Unary"
ONE_EMPTY_MESSAGE = bytes(5)

Context = grpc.aio.ServicerContext[bytes, int]


async def spell(request: bytes, context: Context) -> None:
    for byte in request:
        await context.write(byte)


async def count(request: bytes, _: Context) -> int:
    return len(request)


def decimal(number: int) -> bytes:
    return str(number).encode()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    methods = {"Stream": unary_stream(spell, decimal), "Unary": unary_unary(count, decimal)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Service", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


async def test_a_request_is_answered_by_one_message_or_a_stream(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream(STREAM, None, None)(b"abc")
        assert [message async for message in call] == [b"97", b"98", b"99"]
        assert await channel.unary_unary(UNARY, None, None)(b"abc") == b"3"


async def test_an_empty_message_is_a_request(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary(UNARY, None, None)(b"") == b"0"


@pytest.mark.parametrize("path", [STREAM, UNARY])
@pytest.mark.parametrize("body", [None, b"", ONE_EMPTY_MESSAGE[:3]])
async def test_a_call_without_a_whole_message_is_refused(
    port: int, path: str, body: bytes | None
) -> None:
    async with raw_connection(port) as connection:
        connection.call(path, body)
        await asyncio.wait_for(connection.ended.wait(), PATIENCE_S)
    [(kind, flags, trailers)] = connection.frames
    assert kind == HEADERS
    assert flags & END_STREAM
    invalid_argument = str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert f"grpc-status\x01{invalid_argument}".encode() in trailers
    assert b"without a whole request message" in trailers


async def test_a_whole_message_is_served_by_the_raw_client_too(port: int) -> None:
    async with raw_connection(port) as connection:
        connection.call(UNARY, ONE_EMPTY_MESSAGE)
        await asyncio.wait_for(connection.ended.wait(), PATIENCE_S)
    assert (DATA, 0, b"\0\0\0\0\x010") in connection.frames


GENERATE = "/leyden.v1.ImageGenerationService/GenerateImage"
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.mark.parametrize("path", [GENERATE, INFER])
async def test_a_call_without_a_message_that_was_to_start_something_is_in_the_log(
    path: str,
) -> None:
    async with house() as home:
        async with raw_connection(int(home.address.rpartition(":")[2])) as connection:
            connection.call(path, b"")
            await asyncio.wait_for(connection.ended.wait(), PATIENCE_S)
        (record,) = home.records.records
    assert (record.code, record.reason) == ("INVALID_ARGUMENT", "NO_REQUEST_MESSAGE")
    assert record.method == path[1:]
