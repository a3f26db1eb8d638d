"""Many streams at once, read as HTTP/2 frames: a client that costs a fifth of what gRPC's does.

Where client and Gateway share two cores, gRPC's own client takes as much of them as the Gateway,
and the rate is half the client's. This one counts messages and decodes nothing.
"""

import selectors
import socket
import time
from types import TracebackType
from typing import Self

from leyden.v1 import image_generation_service_pb2 as pb

__all__ = ["RawLoad"]

PATH = "/leyden.v1.ImageGenerationService/GenerateImage"
CONNECTIONS = 4
RECEIVE_BYTES = 2**18

# RFC 9113: the preface, frame types, flags and settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = b"\0\x04"
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 2**16 - 1
FRAME_HEAD_BYTES = 9
MESSAGE_HEAD_BYTES = 5


class RawLoad:
    """Connections to a Gateway; a context manager for as long as they are open."""

    def __init__(self, address: str, steps: int) -> None:
        """Take where it listens, and how many steps each generation has."""
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._connections: list[_Connection] = []
        self._steps = steps
        request = pb.GenerateImageRequest(prompt="a lake", num_inference_steps=steps)
        self._request = request.SerializeToString()

    def __enter__(self) -> Self:
        self._connections = [_Connection(self._address) for _ in range(CONNECTIONS)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.socket.close()

    def events_per_s(self, streams: int) -> float:
        """Run so many generations at once, to their ends; return the events that came a second.

        Raises:
            RuntimeError: a stream ended with fewer events than its steps.

        """
        started_s = time.perf_counter()
        before = sum(connection.messages for connection in self._connections)
        for number in range(streams):
            self._connections[number % CONNECTIONS].call(self._request)
        with selectors.DefaultSelector() as selector:
            for connection in self._connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            while any(connection.open for connection in self._connections):
                for key, _ in selector.select():
                    key.data.read()
        took_s = time.perf_counter() - started_s
        events = sum(connection.messages for connection in self._connections) - before
        if events < streams * self._steps:
            raise RuntimeError(f"{streams} streams of {self._steps} steps had {events} events")
        return events / took_s


class _Connection:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.messages = 0
        """That came whole, on all streams so far."""
        self.open = 0
        """Streams that have not ended."""
        self._next_stream = 1
        self._rest = b""
        self._missing: dict[int, bytes] = {}
        """The begin of a message, by its stream."""
        window = LARGEST_WINDOW.to_bytes(4, "big")
        more = (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4, "big")
        settings = _frame(SETTINGS, 0, 0, INITIAL_WINDOW_SIZE + window)
        self.socket.sendall(PREFACE + settings + _frame(WINDOW_UPDATE, 0, 0, more))

    def call(self, request: bytes) -> None:
        """Begin a generation."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        body = b"\0" + len(request).to_bytes(4, "big") + request
        self.socket.sendall(
            _frame(HEADERS, END_HEADERS, stream, FIELDS) + _frame(DATA, END_STREAM, stream, body)
        )
        self.open += 1

    def read(self) -> None:
        """Take what has come."""
        received = self.socket.recv(RECEIVE_BYTES)
        if not received:
            raise ConnectionError("the Gateway has closed the connection")
        data = self._rest + received
        at = 0
        while len(data) - at >= FRAME_HEAD_BYTES:
            end = at + FRAME_HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            self._take(data[at + 3], data[at + 4], data[at + 5 : at + 9], data[at + 9 : end])
            at = end
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, stream: bytes, payload: bytes) -> None:
        if kind == DATA:
            self._count(int.from_bytes(stream, "big"), payload)
        elif kind == HEADERS:
            self.open -= flags & END_STREAM
        elif kind == SETTINGS and not flags & ACK:
            self.socket.sendall(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(_frame(PING, ACK, 0, payload))
        elif kind in {RST_STREAM, GOAWAY}:
            raise ConnectionError(f"the Gateway has ended a stream: {payload!r}")

    def _count(self, stream: int, payload: bytes) -> None:
        if self._missing:
            payload = self._missing.pop(stream, b"") + payload
        at, size = 0, len(payload)
        while at < size:
            head = payload[at + 1 : at + MESSAGE_HEAD_BYTES]
            end = at + MESSAGE_HEAD_BYTES + int.from_bytes(head, "big")
            if len(head) < MESSAGE_HEAD_BYTES - 1 or end > size:
                self._missing[stream] = payload[at:]
                return
            self.messages += 1
            at = end


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _literal(name: str, value: str) -> bytes:
    """Write a header field as HPACK does without tables or Huffman; up to 126 bytes each."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


FIELDS = b"".join(
    _literal(name, value)
    for name, value in {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH,
        ":authority": "benchmark",
        "te": "trailers",
        "content-type": "application/grpc",
    }.items()
)
