"""What is done to models: in order for each, and joined."""

import asyncio
from functools import partial

import pytest

from leyden_server.controller.operations import Operations


class Work:
    """Operations that a test ends."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Future[None]] = {}

    async def run(self, what: str) -> None:
        self.begun.append(what)
        self.ends[what] = asyncio.get_running_loop().create_future()
        await self.ends[what]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_for_the_same_joins_and_who_leaves_ends_nothing() -> None:
    operations, work = Operations(), Work()
    first, second = (
        asyncio.create_task(operations.do("a", "load", lambda: work.run("load a")))
        for _ in range(2)
    )
    await turns()
    first.cancel()
    await turns()
    assert work.begun == ["load a"]
    assert not second.done()
    work.ends["load a"].set_result(None)
    await second
    # It is done: the next one is another.
    third = asyncio.create_task(operations.do("a", "load", lambda: work.run("load a")))
    await turns()
    assert work.begun == ["load a", "load a"]
    work.ends["load a"].set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await third
    await turns()
    assert not operations._newest, "names that anybody may send are not kept"


async def test_of_one_model_the_next_waits_and_others_do_not() -> None:
    operations, work = Operations(), Work()
    tasks = [
        asyncio.create_task(operations.do(name, kind, partial(work.run, f"{kind} {name}")))
        for name, kind in (("a", "load"), ("a", "unload"), ("b", "load"), ("a", "load"))
    ]
    await turns()
    assert work.begun == ["load a", "load b"]
    # One that fails holds up nobody.
    work.ends["load a"].set_exception(ValueError("no"))
    await turns()
    assert work.begun == ["load a", "load b", "unload a"]
    work.ends["unload a"].set_result(None)
    await turns()
    assert work.begun == ["load a", "load b", "unload a", "load a"]
    await operations.stop()
    assert [type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == [
        ValueError,
        type(None),
        asyncio.CancelledError,
        asyncio.CancelledError,
    ]


async def test_a_stop_ends_what_runs_and_what_waits_behind_it() -> None:
    operations, ended = Operations(), asyncio.Event()

    async def load() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    calls = [
        asyncio.create_task(operations.do("a", "load", load)),
        asyncio.create_task(operations.do("a", "unload", load)),
    ]
    await turns()
    await operations.stop()
    assert ended.is_set()
    await asyncio.gather(*calls, return_exceptions=True)
