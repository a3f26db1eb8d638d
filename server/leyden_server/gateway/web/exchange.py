"""One HTTP request and its response, with bounds on both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from leyden_server.errors import ReaderTooSlowError

__all__ = [
    "Application",
    "Exchange",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "current_exchange",
    "start_message",
]

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""Of ASGI 3."""

PIECE_BYTES = 2**18

DISCONNECT: Message = {"type": "http.disconnect"}


class Exchange:
    """What an application receives and sends, watched.

    A client that takes nothing for the write timeout is cut off. One that begins a request and
    does not send the rest of it in that time counts as gone.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        timeout_s: float,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """`headers` are added to each response that has not the same itself."""
        self.scope = scope
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        """Of the request, by their names in lower case; of one that comes twice the last."""
        self.peer = peer(scope)
        self.began_s = asyncio.get_running_loop().time()
        """By the clock of the event loop."""
        self.has_started = False
        """Whether the response has begun."""
        self.is_done = False
        """Whether all of the response was sent."""
        self.broken: ReaderTooSlowError | None = None
        """Why it was cut off; None: it was not."""
        self.has_left = False
        """Whether the client has closed the connection, while that was looked for."""
        self._receive = receive
        self._send = send
        self._timeout_s = timeout_s
        self._added = headers
        self._has_body = False

    async def receive(self) -> Message:
        """Return the next part of the request, and then that the client has left."""
        if self._has_body:
            return await self._receive()
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await self._receive()
        except TimeoutError:
            return DISCONNECT
        self._has_body = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response, once there is room for it.

        Raises:
            ReaderTooSlowError: there was none for too long; nothing can be sent any more.

        """
        if self.broken is not None:
            raise self.broken
        if message["type"] == "http.response.start":
            self.has_started = True
            message = {**message, "headers": self._with_added(message.get("headers", ()))}
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(message)
        except TimeoutError:
            text = f"the client took nothing for {self._timeout_s:g} s, though more was there"
            limits = {"write_timeout_s": f"{self._timeout_s:g}"}
            self.broken = ReaderTooSlowError(text, limits)
            raise self.broken from None
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_done = True

    async def body(self, most_bytes: int) -> bytes | None:
        """Return the whole body; None: the client left.

        Raises:
            ValueError: it is larger than that.

        """
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > most_bytes:
                raise ValueError(f"the body is over {most_bytes} bytes")
            if not message.get("more_body", False):
                return bytes(body)

    @asynccontextmanager
    async def until_left(self) -> AsyncIterator[None]:
        """Cancel this task, within the block, where the client leaves; after the request's body."""
        task = asyncio.current_task()
        assert task is not None

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            if not self.is_done:
                self.has_left = True
                task.cancel()

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()

    async def answer(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole response."""
        all_headers = {
            "content-type": content_type,
            "content-length": str(len(body)),
            **(headers or {}),
        }
        await self.send(start_message(status, all_headers))
        # In pieces, so that a client that reads slowly is not taken for one that does not read.
        for offset in range(0, len(body), PIECE_BYTES):
            piece = body[offset : offset + PIECE_BYTES]
            await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def answer_text(self, status: int, text: str) -> None:
        """Send a line to read."""
        await self.answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

    def _with_added(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own = {name.lower() for name, _ in headers}
        return [*headers, *((name, value) for name, value in self._added if name not in own)]


current_exchange: ContextVar[Exchange] = ContextVar("current_exchange")
"""Of the request that is answered in this task."""


def start_message(status: int, headers: Mapping[str, str]) -> Message:
    """Return how a response begins."""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def peer(scope: Scope) -> str:
    """Return the client's address as gRPC writes it."""
    client = scope.get("client")
    if client is None:
        return "unknown"
    host, port = client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
