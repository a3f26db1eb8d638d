"""A Gateway's part in the HTTP door of its node: it serves it, or waits to take it over."""

import asyncio
import logging
import os
import ssl
from pathlib import Path

from leyden_server.gateway.web.exchange import Application
from leyden_server.gateway.web.listening import HttpListener, listening_socket
from leyden_server.locked_file import lock_file

__all__ = ["WebDoor"]

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
"""How often a Gateway looks whether the door is free."""


class WebDoor:
    """The door, which one Gateway of a node serves."""

    def __init__(
        self,
        application: Application,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        stop_grace_s: float,
        folder: Path | None,
    ) -> None:
        """Take what it serves and where.

        Args:
            application: of ASGI 3.
            host: the address, which whoever started the Gateways holds, or they together.
            port: 0 for a free one.
            tls: None: it speaks plaintext.
            stop_grace_s: what responses under way get when it stops.
            folder: the same for all Gateways of the node; None: there is no other.

        """
        self.port = port
        """Once it is served: the port."""
        self._application = application
        self._host = host
        self._tls = tls
        self._stop_grace_s = stop_grace_s
        self._folder = folder
        self._lock: int | None = None
        self._listener: HttpListener | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._has_warned = False

    async def start(self) -> None:
        """Serve, if no other Gateway of the node does; else wait for that."""
        if self._folder is None:
            await self._serve()
        elif not await self._take_over(self._folder):
            self._waiting = asyncio.create_task(self._wait(self._folder))

    async def stop(self) -> None:
        """Let another Gateway serve it, and finish what is under way."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._listener is not None:
            await self._listener.stop()
        self._step_down()

    async def _wait(self, folder: Path) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            if await self._take_over(folder):
                return

    async def _take_over(self, folder: Path) -> bool:
        """Return whether this Gateway serves the door now."""
        self._lock = _lock(folder)
        if self._lock is None:
            return False
        try:
            await self._serve()
        except OSError as error:
            # Only where nobody holds the port: on a further node.
            self._step_down()
            if not self._has_warned:
                self._has_warned = True
                logger.warning("no page at %s:%d: %s", self._host, self.port, error)
            return False
        return True

    async def _serve(self) -> None:
        at = listening_socket(self._host, self.port)
        self.port = at.getsockname()[1]
        self._listener = HttpListener(self._application, self._tls, self._stop_grace_s)
        await self._listener.start(at)

    def _step_down(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(folder: Path) -> int | None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return lock_file(folder / "door.lock")
