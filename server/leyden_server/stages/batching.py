"""Runs items in batches: whatever came while the last batch ran makes the next. No torch."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from leyden_server.service_order import ServiceOrder

__all__ = ["Batcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Result]):
    """One caller's item."""

    item: Item
    order: ServiceOrder
    answer: asyncio.Future[Result]
    """Cancelled where the caller has left."""


class Batcher(Generic[Item, Result]):
    """Runs one batch at a time. Use it from one event loop only.

    The item that is first in the order of service leads, and items with its key join it, in
    that order. The items of a batch that failed are run once more, each alone, so that one
    bad item fails nobody else. A caller that leaves takes its item along if it waits, and
    cancels the run if nobody else waits for that.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        max_items: Callable[[Item], int],
        key: Callable[[Item], Hashable] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`run` returns the results in the order of its items.

        `max_items` gives the size of the largest batch that the item may lead. `clock` is the
        one that the items' orders go by; a simulation has its own.
        """
        self._run = run
        self._max_items = max_items
        self._key = key
        self._clock = clock
        self._waiting: list[_Entry[Item, Result]] = []
        self._batch: list[_Entry[Item, Result]] = []
        self._running: asyncio.Future[Sequence[Result]] | None = None
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that are in no batch yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Items of the batch that runs."""
        return len(self._batch)

    async def __call__(self, item: Item, order: ServiceOrder) -> Result:
        """Run `item` in a batch and return its result; raises what `run` raises on it alone."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        entry = _Entry(item, order, answer)
        self._waiting.append(entry)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await answer
        finally:
            self._leave(entry)

    def _leave(self, entry: _Entry[Item, Result]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
        elif self._running is not None and all(one.answer.done() for one in self._batch):
            self._running.cancel()

    async def _work(self) -> None:
        taken: list[_Entry[Item, Result]] = []
        try:
            while self._waiting:
                taken = self._take()
                # The failure is not kept: its traceback would hold the whole batch's memory
                # while its items are run alone.
                if await self._fails(taken, tell=len(taken) == 1):
                    for entry in taken:
                        await self._fails([entry], tell=True)
        finally:
            for entry in (*taken, *self._waiting):
                entry.answer.cancel()  # nothing where it is done: only the loop's end leaves any

    def _take(self) -> list[_Entry[Item, Result]]:
        """Remove the next batch from those that wait."""
        now_s = self._clock()
        in_order = sorted(self._waiting, key=lambda entry: entry.order.key(now_s))
        leader = in_order[0]
        alike = [one for one in in_order if self._key(one.item) == self._key(leader.item)]
        taken = alike[: self._max_items(leader.item)]
        for entry in taken:
            self._waiting.remove(entry)
        return taken

    async def _fails(self, batch: list[_Entry[Item, Result]], *, tell: bool) -> bool:
        """Run a batch for those who still wait; return whether it failed and nobody was told.

        With `tell` a failure is its callers'.
        """
        batch = [entry for entry in batch if not entry.answer.done()]
        if not batch:
            return False
        running = asyncio.ensure_future(self._run([entry.item for entry in batch]))
        self._batch, self._running = batch, running
        try:
            await asyncio.wait([running])
        finally:
            self._batch, self._running = [], None
            running.cancel()
        if running.cancelled():
            return False
        failure = running.exception()
        if failure is not None and not tell:
            return True
        for index, entry in enumerate(batch):
            if entry.answer.done():
                continue
            if failure is not None:
                entry.answer.set_exception(failure)
            else:
                entry.answer.set_result(running.result()[index])
        return False
