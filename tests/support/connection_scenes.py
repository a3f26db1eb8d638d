"""What happens on one gRPC connection when somebody pings, vanishes or reads no more."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from support.raw_http2 import RawConnection, raw_connection
from support.tcp_proxy import TcpProxy

QUIET, POUR = "/test.Service/Quiet", "/test.Service/Pour"
EMPTY_MESSAGE = bytes(5)
SCENE_S = 62.0
"""The longest that a scene goes on."""

CALM_S = 2.0
"""How long a connection goes well before its end: it has answered gRPC's first pings."""

Options = tuple[tuple[str, int], ...]

PATIENT: Options = (
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)
"""A server that lets clients ping and never looks after them."""


class Service:
    """A stream that says nothing and one that pours; it tells when a handler has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        methods = {
            path.rpartition("/")[2]: grpc.unary_stream_rpc_method_handler(handle)
            for path, handle in [(QUIET, self._quiet), (POUR, self._pour)]
        }
        return grpc.method_handlers_generic_handler("test.Service", methods)

    async def _quiet(self, _: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        await context.send_initial_metadata(())
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def _pour(self, _: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        try:
            while True:
                await context.write(bytes(2**16))
        finally:
            self.ended.set()


@asynccontextmanager
async def served(options: Options) -> AsyncIterator[tuple[int, Service]]:
    """Run a server with these options; give its port."""
    service = Service()
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((service.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port, service
    finally:
        await server.stop(None)


async def pinged(options: Options, every_s: float, path: str | None) -> RawConnection:
    """Ping a server every so often, for a minute or until it sends the client away."""
    async with served(options) as (port, _), raw_connection(port) as connection:
        if path:
            connection.call(path, EMPTY_MESSAGE)
        end = time.monotonic() + SCENE_S
        while time.monotonic() + every_s < end and connection.closed_after_s is None:
            await asyncio.sleep(every_s)
            connection.ping()
        await asyncio.sleep(1)
    return connection


async def client_vanishes(options: Options, path: str | None) -> float:
    """Return after how many seconds a server closes on a client that answers no more."""
    async with served(options) as (port, service), raw_connection(port) as connection:
        if path:
            connection.call(path, EMPTY_MESSAGE)
        await asyncio.sleep(CALM_S)
        connection.silence()
        while connection.closed_after_s is None and not service.ended.is_set():
            if time.monotonic() - connection.silent_since > SCENE_S:
                return SCENE_S
            await asyncio.sleep(0.1)
        return time.monotonic() - connection.silent_since


async def client_takes_no_bytes(options: Options) -> float:
    """Return after how many seconds a server ends a stream whose bytes nobody takes."""
    async with served(options) as (port, service), raw_connection(port) as connection:
        connection.call(POUR, EMPTY_MESSAGE)
        await asyncio.sleep(CALM_S)
        connection.stop_reading()
        connection.open_windows()
        await asyncio.wait_for(service.ended.wait(), SCENE_S)
        return time.monotonic() - connection.silent_since


async def client_pauses(options: Options, pause_s: float) -> bool:
    """Tell whether a server still pours to a client whose network stood still for a while."""
    async with (
        served(options) as (port, service),
        TcpProxy(port) as proxy,
        grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}") as channel,
    ):
        reading = asyncio.create_task(_read_all(channel.unary_stream(POUR, None, None)(b"")))
        await proxy.forwards(2**20)
        proxy.stop_reading()
        await asyncio.sleep(pause_s)
        proxy.resume()
        await proxy.forwards(2**20)
        reading.cancel()
        return not service.ended.is_set()


async def server_vanishes(options: Options, after_s: float) -> float:
    """Return after how many seconds a client gives up a server that answers no more."""
    async with (
        served(PATIENT) as (port, _),
        TcpProxy(port) as proxy,
        grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options=options) as channel,
    ):
        call = channel.unary_stream(QUIET, None, None)(b"")
        await call.initial_metadata()
        await asyncio.sleep(after_s)
        proxy.swallow()
        vanished_at = time.monotonic()
        try:
            code = await asyncio.wait_for(call.code(), SCENE_S - after_s)
        except TimeoutError:
            return SCENE_S
        assert code is grpc.StatusCode.UNAVAILABLE
        return time.monotonic() - vanished_at


async def _read_all(call: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> None:
    async for _ in call:
        pass
