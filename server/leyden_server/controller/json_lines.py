"""Calls over one TCP connection: a line of JSON each way, answered in order.

The first line is a secret, which both sides have by another way: names of generations are worth
something to whoever is on the network.

For what is asked before a request's first event. On one machine a call took 0.13 ms where one of
a Ray actor took 1.7 to 2.1 and a unary one of gRPC 0.87 (two busy cores, medians of 400).
"""

import asyncio
import contextlib
import hmac
import json
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Caller", "serve"]

MAX_LINE_BYTES = 2**22
"""Of a call: all names that were given back since the last one, say."""

GREETING_TIMEOUT_S = 10.0
"""For a stranger to say nothing."""


async def serve(host: str, secret: str, answer: Callable[[str, list[Any]], Any]) -> asyncio.Server:
    """Answer each call, by its method and arguments, in the loop that runs; on a free port.

    Who does not begin with the secret is not answered.
    """

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            if not await _knows(secret, reader):
                return
            while line := await reader.readline():
                method, arguments = json.loads(line)
                writer.write(json.dumps(answer(method, arguments)).encode() + b"\n")
                await writer.drain()

    return await asyncio.start_server(converse, host, 0, limit=MAX_LINE_BYTES)


async def _knows(secret: str, reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(GREETING_TIMEOUT_S):
            greeting = await reader.readline()
    except (TimeoutError, ValueError):  # it says nothing, or too much
        return False
    return hmac.compare_digest(greeting.rstrip(), secret.encode())


class Caller:
    """One connection, from the caller's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._awaited: deque[asyncio.Future[Any]] = deque()
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def connect(cls, host: str, port: int, secret: str) -> "Caller":
        """Connect; raises OSError where nobody is there."""
        reader, writer = await asyncio.open_connection(host, port, limit=MAX_LINE_BYTES)
        writer.write(secret.encode() + b"\n")
        return cls(reader, writer)

    async def call(self, method: str, *arguments: object) -> Any:
        """Return the answer to a call.

        Raises:
            ConnectionError: the connection has ended before it came.

        """
        if self._reading.done():
            raise ConnectionResetError("the connection has ended")
        answer = asyncio.get_running_loop().create_future()
        self._awaited.append(answer)
        self._writer.write(json.dumps([method, arguments]).encode() + b"\n")
        return await answer

    def close(self) -> None:
        """End the connection; calls under way fail."""
        self._writer.close()
        self._reading.cancel()
        self._fail()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                answer = self._awaited.popleft()
                if not answer.done():  # whoever asked may have left
                    answer.set_result(json.loads(line))
        except ConnectionError:
            return
        finally:
            self._writer.close()
            self._fail()

    def _fail(self) -> None:
        while self._awaited:
            answer = self._awaited.popleft()
            if not answer.done():
                answer.set_exception(ConnectionResetError("the connection has ended"))
