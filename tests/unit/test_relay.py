"""A call that one Gateway passes on to another, seen from its client and from the far side."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import grpc
import pytest
from support.patience import PATIENCE_S
from support.tcp_proxy import TcpProxy

from leyden_server.errors import ReaderTooSlowError, UnavailableError
from leyden_server.gateway.call import Call
from leyden_server.gateway.channel_options import PEER_OPTIONS
from leyden_server.gateway.grpc_call import stream_method, unary_method
from leyden_server.gateway.relay import PeerGoneError, relay_stream, relay_unary
from leyden_server.gateway.status import to_wire

STREAM, UNARY = "/test.Service/Stream", "/test.Service/Unary"
MESSAGES = [b"", b"\x00\xff", b"x" * 100_000]
INITIAL = (("accepted", "yes"), ("token-bin", b"\x00\xff"))
TRAILING = (("cost", "1"), ("cost-bin", b"\xff"))
REFUSAL = to_wire(UnavailableError("STAGE_GONE", "the stage is gone; größer", 2.0))
WRITE_TIMEOUT_S = 2.0

Context = grpc.aio.ServicerContext[bytes, bytes]


class FarSide:
    """The Gateway that owns the call; the request says what it does."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.time_remaining_s: float | None = None
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()

    async def stream(self, request: bytes, context: Context) -> None:
        self._note(context)
        if request == b"refuse":
            await self._refuse(context)
        await context.send_initial_metadata(INITIAL)
        for message in MESSAGES:
            await context.write(message)
        if request == b"fail":
            await self._refuse(context)
        if request == b"wait":
            await self._wait()
        while request == b"pour":
            await context.write(bytes(200_000))
        context.set_trailing_metadata(TRAILING)

    async def unary(self, request: bytes, context: Context) -> bytes:
        self._note(context)
        if request == b"refuse":
            await self._refuse(context)
        if request == b"wait":
            await self._wait()
        context.set_trailing_metadata(TRAILING)
        return MESSAGES[1]

    def _note(self, context: Context) -> None:
        self.metadata = dict(context.invocation_metadata() or ())
        self.time_remaining_s = context.time_remaining()
        self.arrived.set()

    async def _wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()

    async def _refuse(self, context: Context) -> None:
        await context.abort(REFUSAL.code, REFUSAL.message, REFUSAL.trailing_metadata())


class NearSide:
    """The Gateway that the client has called, with all that its relays raise."""

    def __init__(self, to_far: grpc.aio.Channel) -> None:
        self._to_far = to_far
        self.raised: list[BaseException] = []
        self.ended = asyncio.Event()

    async def stream(self, request: bytes, call: Call) -> None:
        with self._noting():
            metadata = (("key", "k"), ("key-bin", b"\xff"))
            await relay_stream(self._to_far, request, call, metadata)

    async def unary(self, request: bytes, call: Call) -> bytes:
        with self._noting():
            return await relay_unary(self._to_far, request, call, (("key", "k"),))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.raised.append(error)
            raise
        finally:
            self.ended.set()


class Gateways:
    """A client's channel to the near side, which relays over a proxy to the far side."""

    channel: grpc.aio.Channel
    near: NearSide
    far: FarSide
    between: TcpProxy

    def stream(
        self, request: bytes, timeout: float | None = None
    ) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
        return self.channel.unary_stream(STREAM, None, None)(request, timeout=timeout)

    def unary(self, request: bytes) -> "grpc.aio.UnaryUnaryCall[bytes, bytes]":
        return self.channel.unary_unary(UNARY, None, None)(request)


@asynccontextmanager
async def serving(side: FarSide | NearSide) -> AsyncIterator[int]:
    server = grpc.aio.server()
    if isinstance(side, NearSide):
        methods = {
            "Stream": stream_method(STREAM[1:], side.stream, WRITE_TIMEOUT_S),
            "Unary": unary_method(UNARY[1:], side.unary),
        }
    else:
        methods = {
            "Stream": grpc.unary_stream_rpc_method_handler(side.stream),
            "Unary": grpc.unary_unary_rpc_method_handler(side.unary),
        }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Service", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture
async def gateways() -> AsyncIterator[Gateways]:
    result = Gateways()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        result.far = FarSide()
        result.between = await enter(TcpProxy(await enter(serving(result.far))))
        to_far = f"127.0.0.1:{result.between.port}"
        result.near = NearSide(await enter(grpc.aio.insecure_channel(to_far, options=PEER_OPTIONS)))
        near_port = await enter(serving(result.near))
        # Small windows: a client that does not read is noticed within a message.
        bounded = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 2**16)]
        result.channel = await enter(
            grpc.aio.insecure_channel(f"127.0.0.1:{near_port}", options=bounded)
        )
        yield result


async def test_a_stream_comes_through_as_it_was_sent(gateways: Gateways) -> None:
    call = gateways.stream(b"ok", timeout=PATIENCE_S)
    assert tuple(await call.initial_metadata()) == INITIAL
    assert [message async for message in call] == MESSAGES
    assert await call.code() is grpc.StatusCode.OK
    assert tuple(await call.trailing_metadata()) == TRAILING
    assert gateways.near.raised == []


async def test_metadata_and_the_deadline_go_along(gateways: Gateways) -> None:
    async for _ in gateways.stream(b"ok", timeout=PATIENCE_S):
        pass
    assert gateways.far.metadata["key"] == "k"
    assert gateways.far.metadata["key-bin"] == b"\xff"
    assert gateways.far.time_remaining_s is not None
    # gRPC rounds it up to three digits.
    assert 0 < gateways.far.time_remaining_s < 1.01 * PATIENCE_S
    async for _ in gateways.stream(b"ok"):
        pass
    assert gateways.far.time_remaining_s is None


@pytest.mark.parametrize(("request_", "received"), [(b"refuse", 0), (b"fail", len(MESSAGES))])
async def test_an_error_keeps_its_code_text_and_details(
    gateways: Gateways, request_: bytes, received: int
) -> None:
    call = gateways.stream(request_)
    initial = tuple(await call.initial_metadata())
    messages = []
    with suppress(grpc.aio.AioRpcError):
        async for message in call:
            messages.append(message)
    assert len(messages) == received
    assert initial == (INITIAL if received else ())
    assert await call.code() is REFUSAL.code
    assert await call.details() == REFUSAL.message
    assert dict(await call.trailing_metadata()) == dict(REFUSAL.trailing_metadata())


async def test_an_answer_and_an_error_of_a_unary_call_come_through(gateways: Gateways) -> None:
    call = gateways.unary(b"ok")
    assert await call == MESSAGES[1]
    assert tuple(await call.trailing_metadata()) == TRAILING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateways.unary(b"refuse")
    assert caught.value.code() is REFUSAL.code
    assert caught.value.details() == REFUSAL.message
    trailing: Any = caught.value.trailing_metadata()
    assert dict(trailing) == dict(REFUSAL.trailing_metadata())


async def test_a_client_that_leaves_ends_the_far_call(gateways: Gateways) -> None:
    call = gateways.stream(b"wait")
    for _ in MESSAGES:
        await call.read()
    call.cancel()
    await asyncio.wait_for(gateways.far.left.wait(), PATIENCE_S)
    await asyncio.wait_for(gateways.near.ended.wait(), PATIENCE_S)
    [error] = gateways.near.raised
    assert isinstance(error, asyncio.CancelledError)


async def test_a_client_that_leaves_ends_the_far_unary_call(gateways: Gateways) -> None:
    call = gateways.unary(b"wait")
    await asyncio.wait_for(gateways.far.arrived.wait(), PATIENCE_S)
    call.cancel()
    await asyncio.wait_for(gateways.far.left.wait(), PATIENCE_S)


async def test_a_client_that_reads_no_more_ends_the_relay(gateways: Gateways) -> None:
    call = gateways.stream(b"pour")
    await call.read()
    await asyncio.wait_for(gateways.near.ended.wait(), PATIENCE_S)
    [error] = gateways.near.raised
    assert isinstance(error, ReaderTooSlowError)


async def test_a_far_side_that_dies_is_gone(gateways: Gateways) -> None:
    call = gateways.stream(b"wait")
    for _ in MESSAGES:
        await call.read()
    gateways.between.close()
    await asyncio.wait_for(gateways.near.ended.wait(), PATIENCE_S)
    [error] = gateways.near.raised
    assert isinstance(error, PeerGoneError)
    assert error.relayed_messages == len(MESSAGES)


async def test_a_far_side_that_is_not_there_is_gone(gateways: Gateways) -> None:
    await gateways.between.__aexit__(None, None, None)
    for call in (gateways.stream(b"ok"), gateways.unary(b"ok")):
        await call.code()
    assert [type(error) for error in gateways.near.raised] == [PeerGoneError, PeerGoneError]
    assert "is gone" in str(gateways.near.raised[0])
