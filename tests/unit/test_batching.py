"""Who shares a batch with whom, who is answered and how."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from leyden_server.service_order import PATIENCE_S, ServiceOrder
from leyden_server.stages.batching import Batcher


class Runs:
    """The work that is batched: each run waits until it is let; an item of 'bad…' fails."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.cancelled: list[list[str]] = []
        self._let = asyncio.Semaphore(0)
        self._came = asyncio.Condition()

    async def __call__(self, items: list[str]) -> list[str]:
        async with self._came:
            self.batches.append(items)
            self._came.notify_all()
        try:
            await self._let.acquire()
        except asyncio.CancelledError:
            self.cancelled.append(items)
            raise
        bad = [item for item in items if item.startswith("bad")]
        if bad:
            raise ValueError(f"{bad} among {items}")
        return [item.upper() for item in items]

    def let(self, runs: int = 1000) -> None:
        for _ in range(runs):
            self._let.release()

    async def arrival(self, batches: int) -> None:
        async with self._came:
            await self._came.wait_for(lambda: len(self.batches) >= batches)


@pytest.fixture
def runs() -> Runs:
    return Runs()


def batcher_of(runs: Runs, max_items: int = 8, **options: Any) -> Batcher[str, str]:
    return Batcher(runs, lambda _: max_items, **options)


def asked(
    batcher: Batcher[str, str], *items: str, order: ServiceOrder | None = None
) -> list["asyncio.Task[str]"]:
    """Ask for items, the first of them first; return once none has been started yet."""
    given = order or ServiceOrder(5, asyncio.get_running_loop().time())
    return [asyncio.create_task(batcher(item, given)) for item in items]


async def all_of(tasks: Sequence["asyncio.Task[str]"]) -> list[str | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_came_while_the_last_batch_ran_makes_the_next(runs: Runs) -> None:
    batcher = batcher_of(runs)
    first = asked(batcher, "a")
    await runs.arrival(1)
    others = asked(batcher, "b", "c", "d")
    runs.let()

    assert await all_of([*first, *others]) == ["A", "B", "C", "D"]
    assert runs.batches == [["a"], ["b", "c", "d"]]
    assert await all_of(asked(batcher, "e")) == ["E"]


async def test_a_batch_has_no_more_than_its_leader_allows(runs: Runs) -> None:
    batcher: Batcher[str, str] = Batcher(runs, len)
    runs.let()

    await all_of(asked(batcher, "aa", "bbb", "c", "d", "e"))
    assert runs.batches == [["aa", "bbb"], ["c"], ["d"], ["e"]]


async def test_only_equal_keys_share_a_batch(runs: Runs) -> None:
    batcher = batcher_of(runs, key=len)
    runs.let()

    assert await all_of(asked(batcher, "a", "bb", "c", "dd")) == ["A", "BB", "C", "DD"]
    assert runs.batches == [["a", "c"], ["bb", "dd"]]


async def test_the_order_of_service_says_who_leads_and_who_joins(runs: Runs) -> None:
    batcher = batcher_of(runs, 2)
    now_s = asyncio.get_running_loop().time()
    running = asked(batcher, "running")
    await runs.arrival(1)
    orders = {
        "late": ServiceOrder(5, now_s, now_s + 50),
        "early": ServiceOrder(5, now_s + 1, now_s + 20),
        "first": ServiceOrder(4, now_s + 2),
        "waited": ServiceOrder(5, now_s - 2 * PATIENCE_S),
    }
    tasks = [task for item, order in orders.items() for task in asked(batcher, item, order=order)]
    runs.let()
    await all_of([*running, *tasks])

    assert runs.batches[1:] == [["waited", "first"], ["early", "late"]]


async def test_one_bad_item_fails_nobody_else(runs: Runs) -> None:
    batcher = batcher_of(runs)
    runs.let()
    good, bad, beside = await all_of(asked(batcher, "a", "bad", "c"))

    assert (good, beside) == ("A", "C")
    assert isinstance(bad, ValueError)
    assert str(bad) == "['bad'] among ['bad']"
    assert runs.batches == [["a", "bad", "c"], ["a"], ["bad"], ["c"]]


async def test_a_bad_item_alone_is_run_once(runs: Runs) -> None:
    batcher = batcher_of(runs)
    runs.let()
    with pytest.raises(ValueError, match="bad"):
        await asked(batcher, "bad")[0]
    assert runs.batches == [["bad"]]
    assert await all_of(asked(batcher, "a")) == ["A"]


async def test_who_leaves_while_waiting_is_not_run(runs: Runs) -> None:
    batcher = batcher_of(runs)
    first = asked(batcher, "a")
    await runs.arrival(1)
    leaving, staying = asked(batcher, "b", "c")
    await asyncio.sleep(0)  # one turn: both wait
    leaving.cancel()
    runs.let()

    assert await all_of([*first, staying]) == ["A", "C"]
    assert runs.batches == [["a"], ["c"]]
    assert leaving.cancelled()


async def test_who_leaves_a_batch_that_fails_is_not_run_alone(runs: Runs) -> None:
    batcher = batcher_of(runs)
    leaving, staying = asked(batcher, "bad", "c")
    await runs.arrival(1)
    leaving.cancel()
    runs.let()

    assert await staying == "C"
    assert runs.batches == [["bad", "c"], ["c"]]


async def test_a_run_ends_when_everybody_has_left_it_and_not_before(runs: Runs) -> None:
    batcher = batcher_of(runs)
    one, other = asked(batcher, "a", "b")
    await runs.arrival(1)
    later = asked(batcher, "c")
    one.cancel()
    await all_of([one])
    assert runs.cancelled == []
    other.cancel()
    await runs.arrival(2)
    assert runs.cancelled == [["a", "b"]]
    runs.let()

    assert await all_of(later) == ["C"]


async def test_nobody_waits_for_ever_when_the_loop_ends(runs: Runs) -> None:
    batcher = batcher_of(runs)
    running = asked(batcher, "a")
    await runs.arrival(1)
    waiting = asked(batcher, "b")
    await asyncio.sleep(0)  # one turn: it waits
    assert batcher._worker is not None
    batcher._worker.cancel()

    assert all(isinstance(one, asyncio.CancelledError) for one in await all_of(running + waiting))
    assert runs.cancelled == [["a"]]
    runs.let()
    assert await all_of(asked(batcher, "c")) == ["C"]
