"""A TCP proxy that stands between two peers and can make one of them vanish."""

import asyncio
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 2**10


class TcpProxy:
    """Forwards every connection to `127.0.0.1:target_port`, until it is told not to.

    Use it in one running event loop:

        async with TcpProxy(server_port) as proxy:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}")
            proxy.swallow()
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        """The port to connect to, once the proxy runs."""
        self.forwarded_bytes = 0
        """Bytes that both directions have passed on."""
        self._target_port = target_port
        self._progress = asyncio.Condition()
        self._reading = asyncio.Event()
        self._reading.set()
        self._swallows = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def swallow(self) -> None:
        """Read on and pass nothing on: both kernels still acknowledge, neither peer answers."""
        self._swallows = True

    def stop_reading(self) -> None:
        """Take nothing more from either peer, so that their send buffers fill up."""
        self._reading.clear()

    def resume(self) -> None:
        """Forward again. What was swallowed is lost, what was not read comes now."""
        self._swallows = False
        self._reading.set()

    async def forwards(self, count_bytes: int) -> None:
        """Wait until as many bytes more have gone through."""
        enough = self.forwarded_bytes + count_bytes
        async with self._progress:
            await self._progress.wait_for(lambda: self.forwarded_bytes >= enough)

    def close(self) -> None:
        """Reset every open connection; new ones are still forwarded."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except ConnectionError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        pumps = (self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._pumps |= {asyncio.create_task(pump) for pump in pumps}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._reading.wait()
                data = await reader.read(CHUNK_BYTES)
                if not data:
                    break
                await self._reading.wait()
                if not self._swallows:
                    self.forwarded_bytes += len(data)
                    writer.write(data)
                    await writer.drain()
                    async with self._progress:
                        self._progress.notify_all()
        except ConnectionError:
            pass  # one side is gone, so the other is sent away
        finally:
            writer.close()
            self._writers.discard(writer)
