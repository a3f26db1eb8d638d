"""uvicorn in the event loop of a Gateway: it listens, drains and stops with the server.

uvicorn, which Ray Serve brings along, by h11: HTTP/1.1. What it would do for a process of its own,
signals and logs, is left to whoever runs the Gateway.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator, Sequence

import uvicorn

from leyden_server.gateway.web.exchange import Application

__all__ = ["HttpListener", "listening_socket"]

BACKLOG = 2048

VANISHED_AFTER_S = 30
"""A client whose machine or network is gone is noticed after so many seconds."""

PROBE_S = 5


class HttpListener:
    """Serves an application at a socket."""

    def __init__(
        self, application: Application, tls: ssl.SSLContext | None, stop_grace_s: float
    ) -> None:
        """`stop_grace_s` is what responses under way get when it stops; in seconds."""
        config = uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,  # a client could name any address as its own
            server_header=False,
            timeout_graceful_shutdown=max(1, round(stop_grace_s)),
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self, at: socket.socket) -> None:
        """Serve at a socket that is bound; it is the listener's from now on."""
        self._serving = asyncio.create_task(self._server.serve([at]))
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait([self._serving, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            self._serving.result()

    async def stop(self) -> None:
        """Listen no more, and give responses under way their time."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # they are whose process it is


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound there, beside the one that holds the port for the server.

    Raises:
        OSError: it cannot be had.

    """
    bare = host.strip("[]")
    found: Sequence[tuple[socket.AddressFamily, object, object, object, tuple[object, ...]]]
    found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)
    family, *_, address = found[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _notice_vanished_peers(listening)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def _notice_vanished_peers(listening: socket.socket) -> None:
    """Have the kernel ask silent clients whether they are there; connections inherit it."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", VANISHED_AFTER_S - 3 * PROBE_S),
        ("TCP_KEEPINTVL", PROBE_S),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", VANISHED_AFTER_S * 1000),
    ):
        option = getattr(socket, name, None)  # macOS has not all of them
        if option is not None:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)
