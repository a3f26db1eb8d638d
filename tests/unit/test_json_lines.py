"""Calls over one connection are answered in order, and fail with it."""

import asyncio
from typing import Any

import pytest

from leyden_server.controller.json_lines import Caller, serve

SECRET = "between us"


def answer(method: str, arguments: list[Any]) -> Any:
    return {"add": sum(arguments) if method == "add" else None, "say": arguments}[method]


def whereabouts(server: asyncio.Server) -> tuple[str, int, str]:
    host, port = server.sockets[0].getsockname()
    return host, port, SECRET


async def test_calls_are_answered_in_order_over_one_connection() -> None:
    async with await serve("127.0.0.1", SECRET, answer) as server:
        caller = await Caller.connect(*whereabouts(server))
        sums = await asyncio.gather(*(caller.call("add", n, 1) for n in range(100)))
        assert sums == list(range(1, 101))
        assert await caller.call("say", "é", None, ["x"] * 50_000) == ["é", None, ["x"] * 50_000]
        caller.close()


async def test_whoever_leaves_does_not_take_anothers_answer() -> None:
    async with await serve("127.0.0.1", SECRET, answer) as server:
        caller = await Caller.connect(*whereabouts(server))
        left = asyncio.create_task(caller.call("add", 1, 1))
        await asyncio.sleep(0)
        left.cancel()
        assert await caller.call("add", 2, 2) == 4
        caller.close()


async def test_a_connection_that_ends_fails_what_is_asked_over_it() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        caller = await Caller.connect(*whereabouts(server))
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await caller.call("add", 1)
        caller.close()


@pytest.mark.parametrize("greeting", [b"", b"\n", b"between\n", b"between us!\n", b"\xff\n"])
async def test_who_does_not_know_the_secret_is_not_answered(greeting: bytes) -> None:
    async with await serve("127.0.0.1", SECRET, answer) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(greeting + b'["add", [1, 2]]\n')
        assert await reader.read() == b""
        writer.close()
