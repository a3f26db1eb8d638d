"""What a handler and its client see when the client reads slowly, no more, or is gone."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from support.patience import PATIENCE_S

from leyden_server.errors import ReaderTooSlowError
from leyden_server.gateway.status import to_wire
from leyden_server.gateway.writing import DepartedError, Writer, end

METHOD = "/test.Service/Stream"
MESSAGE_BYTES = 200_000
BOUNDED = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 2**16)]
"""Of a client: no more than one message of MESSAGE_BYTES fits between it and the server."""
TIMEOUT_S = 0.5
NEVER_S = 60.0

Context = grpc.aio.ServicerContext[bytes, Any]
Handler = Callable[[bytes, Context], Awaitable[None]]


class Message:
    """Something that can be watched while gRPC holds it."""

    @staticmethod
    def to_bytes(_: "Message") -> bytes:
        return bytes(MESSAGE_BYTES)


@asynccontextmanager
async def calling(
    handler: Handler, timeout: float | None = None
) -> AsyncIterator[tuple["grpc.aio.Channel", "grpc.aio.UnaryStreamCall[bytes, bytes]"]]:
    """Call a handler, over a connection with small windows."""
    server = grpc.aio.server()
    method = grpc.unary_stream_rpc_method_handler(handler, response_serializer=Message.to_bytes)
    service = grpc.method_handlers_generic_handler("test.Service", {"Stream": method})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=BOUNDED) as channel:
            yield channel, channel.unary_stream(METHOD, None, None)(b"", timeout=timeout)
    finally:
        await server.stop(None)


class BusyHandler:
    """Writes until it may not, as the Gateway's handlers do."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.written = 0
        self.blocked = asyncio.Event()
        self.ended_by: type[BaseException] | None = None
        self.ended = asyncio.Event()
        self.held: weakref.ref[Message] | None = None

    async def handle(self, _: bytes, context: Context) -> None:
        await context.send_initial_metadata(())
        try:
            with Writer(context, self.timeout_s) as writer:
                while True:
                    await self._write(writer)
        except ReaderTooSlowError as error:
            self.ended_by = type(error)
            wire = to_wire(error)
            end(context, wire.code, wire.message, wire.trailing_metadata())
        except BaseException as error:
            self.ended_by = type(error)
            raise
        finally:
            await asyncio.sleep(0.05)  # what comes last, a log say, is not cancelled any more
            self.ended.set()

    async def _write(self, writer: Writer) -> None:
        message = Message()
        self.held = weakref.ref(message)
        # Blocked is who has not come back in a tenth of the time: no loopback takes as long.
        alarm = asyncio.get_running_loop().call_later(0.2, self.blocked.set)
        try:
            await writer.write(message)
        finally:
            alarm.cancel()
        self.written += 1


async def test_the_handler_of_a_client_that_reads_no_more_ends() -> None:
    handler = BusyHandler(TIMEOUT_S)
    async with calling(handler.handle) as (_, call):
        await call.read()
        await asyncio.wait_for(handler.ended.wait(), PATIENCE_S)
        assert handler.ended_by is ReaderTooSlowError
        gc.collect()
        assert handler.held is not None
        assert handler.held() is None


async def test_a_client_that_reads_on_gets_what_was_written_and_the_status() -> None:
    handler = BusyHandler(TIMEOUT_S)
    async with calling(handler.handle) as (_, call):
        await asyncio.wait_for(handler.ended.wait(), PATIENCE_S)
        lengths = []
        with suppress(grpc.aio.AioRpcError):
            async for message in call:
                lengths.append(len(message))
        # The message that was broken off arrives as well: gRPC had it already.
        assert lengths == [MESSAGE_BYTES] * (handler.written + 1)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "took nothing for 0.5 s" in str(await call.details())
        trailing = dict(await call.trailing_metadata())
    assert b"READER_TOO_SLOW" in trailing["grpc-status-details-bin"]


@pytest.mark.parametrize("how", ["cancels", "closes its channel", "passes its deadline"])
async def test_a_client_that_leaves_a_blocked_write_has_departed(how: str) -> None:
    handler = BusyHandler(NEVER_S)
    deadline_s = 1.0 if how == "passes its deadline" else None
    async with calling(handler.handle, deadline_s) as (channel, call):
        await asyncio.wait_for(handler.blocked.wait(), PATIENCE_S)
        if how == "cancels":
            call.cancel()
        elif how == "closes its channel":
            await channel.close(None)
        await asyncio.wait_for(handler.ended.wait(), PATIENCE_S)
    assert handler.ended_by is not None
    assert issubclass(handler.ended_by, asyncio.CancelledError)


async def test_a_departure_is_a_cancellation_and_no_defect() -> None:
    assert issubclass(DepartedError, asyncio.CancelledError)
    assert not issubclass(DepartedError, Exception)


async def test_a_second_write_at_once_stays_a_defect() -> None:
    outcomes: asyncio.Future[Sequence[BaseException | None]] = asyncio.Future()

    async def twice(_: bytes, context: Context) -> None:
        await context.send_initial_metadata(())

        async def once() -> None:
            with Writer(context, TIMEOUT_S) as writer:
                await writer.write(Message())

        outcomes.set_result(await asyncio.gather(once(), once(), return_exceptions=True))

    async with calling(twice):
        first, second = await asyncio.wait_for(outcomes, PATIENCE_S)
    assert isinstance(first, ReaderTooSlowError)
    assert isinstance(second, grpc.aio.InternalError)


async def test_a_reader_that_keeps_up_gets_everything() -> None:
    async def many(_: bytes, context: Context) -> None:
        await context.send_initial_metadata(())
        with Writer(context, NEVER_S) as writer:
            for _number in range(20):
                await writer.write(Message())

    async with calling(many) as (_, call):
        received = [len(message) async for message in call]
    assert received == [MESSAGE_BYTES] * 20


async def test_a_reader_that_is_slow_but_reads_is_not_timed_out() -> None:
    async def several(_: bytes, context: Context) -> None:
        await context.send_initial_metadata(())
        with Writer(context, 4 * TIMEOUT_S) as writer:
            for _number in range(6):
                await writer.write(Message())

    async with calling(several) as (_, call):
        for _number in range(6):
            await asyncio.sleep(TIMEOUT_S)  # its pace: each is in time, and all of them are not
            assert await call.read() == bytes(MESSAGE_BYTES)
        assert await call.code() is grpc.StatusCode.OK


async def test_only_the_write_under_way_is_timed() -> None:
    waited_s: asyncio.Future[float] = asyncio.Future()

    async def pausing(_: bytes, context: Context) -> None:
        await context.send_initial_metadata(())
        with Writer(context, TIMEOUT_S) as writer:
            await writer.write(Message())
            await asyncio.sleep(1.4 * TIMEOUT_S)  # the timer has come once, and had nothing to end
            try:
                while True:
                    began_s = time.monotonic()
                    await writer.write(Message())
            except ReaderTooSlowError:
                waited_s.set_result(time.monotonic() - began_s)

    async with calling(pausing) as (_, call):
        await call.read()
        assert await asyncio.wait_for(waited_s, PATIENCE_S) >= TIMEOUT_S


async def test_who_is_cancelled_while_it_is_late_stays_cancelled() -> None:
    ended_by: asyncio.Future[type[BaseException]] = asyncio.Future()

    async def cancelled(_: bytes, context: Context) -> None:
        await context.send_initial_metadata(())
        task = asyncio.current_task()
        assert task is not None
        with Writer(context, TIMEOUT_S) as writer:
            try:
                while True:
                    # A moment before the writer's own timer, so that both are there at once.
                    asyncio.get_running_loop().call_later(TIMEOUT_S, task.cancel)
                    await writer.write(Message())
            except BaseException as error:
                ended_by.set_result(type(error))
                raise

    async with calling(cancelled):
        assert await asyncio.wait_for(ended_by, PATIENCE_S) is asyncio.CancelledError
