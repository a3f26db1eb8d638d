"""An HTTP/2 client of single frames, for what no gRPC client lets a test do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = (4).to_bytes(2, "big")
FIRST_WINDOW, LARGEST_WINDOW = 2**16 - 1, 2**31 - 1
STREAM = 1
"""The one stream that a connection opens."""


@dataclass
class RawConnection:
    """One connection to `127.0.0.1:port`; it answers pings and settings until told not to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answers: bool = True
    pings_sent: int = 0
    pings_answered: int = 0
    goaway: bytes | None = None
    """The debug data of a GOAWAY, once one came."""
    sent_away: asyncio.Event = field(default_factory=asyncio.Event)
    frames: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(type, flags, payload) of every frame of the stream."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """The other side has ended the stream."""
    closed_after_s: float | None = None
    """When the other side closed, on the clock that `silence` starts."""
    silent_since: float = field(default_factory=time.monotonic)
    _reading: asyncio.Task[None] | None = None

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Send one frame."""
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        self.writer.write(head + payload)

    def call(self, path: str, body: bytes | None) -> None:
        """Call a gRPC method; `body` is all that the stream carries, None: not even a frame."""
        names = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"}
        names |= {"te": "trailers", "content-type": "application/grpc"}
        fields = b"".join(_literal(name, value) for name, value in names.items())
        flags = END_HEADERS if body is not None else END_HEADERS | END_STREAM
        self.send(HEADERS, flags, STREAM, fields)
        if body is not None:
            self.send(DATA, END_STREAM, STREAM, body)

    def ping(self) -> None:
        """Send a PING."""
        self.pings_sent += 1
        self.send(PING, payload=b"01234567")

    def silence(self) -> None:
        """Answer nothing from now on, though the socket stays open and is read."""
        self.answers = False
        self.silent_since = time.monotonic()

    def open_windows(self) -> None:
        """Let the other side send 2 GiB before it needs a WINDOW_UPDATE."""
        self.send(SETTINGS, payload=INITIAL_WINDOW_SIZE + LARGEST_WINDOW.to_bytes(4, "big"))
        more = LARGEST_WINDOW - FIRST_WINDOW
        self.send(WINDOW_UPDATE, payload=more.to_bytes(4, "big"))

    def start_reading(self) -> None:
        """Read frames in the background until the other side closes."""
        self._reading = asyncio.create_task(self._read())

    def stop_reading(self) -> None:
        """Take no more bytes: the buffers on the way fill up."""
        if self._reading:
            self._reading.cancel()
        self.silence()

    async def _read(self) -> None:
        try:
            while True:
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(head[3], head[4], payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed_after_s = time.monotonic() - self.silent_since

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == PING and flags & ACK:
            self.pings_answered += 1
        elif kind == PING and self.answers:
            self.send(PING, ACK, payload=payload)
        elif kind == SETTINGS and not flags & ACK and self.answers:
            self.send(SETTINGS, ACK)
        elif kind == GOAWAY:
            self.goaway = payload[8:]
            self.sent_away.set()
        elif kind in {DATA, HEADERS}:
            self.frames.append((kind, flags, payload))
            if flags & END_STREAM:
                self.ended.set()


def _literal(name: str, value: str) -> bytes:
    """Write a header field as HPACK does without tables or Huffman; up to 126 bytes each."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


@asynccontextmanager
async def raw_connection(port: int) -> AsyncIterator[RawConnection]:
    """Connect, and read in the background until the block ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = RawConnection(reader, writer)
    writer.write(PREFACE)
    connection.send(SETTINGS)
    connection.start_reading()
    try:
        yield connection
    finally:
        connection.stop_reading()
        writer.transport.abort()
