"""What is done to models: one thing after another for each, joined by whoever asks for the same."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["Operations"]


@dataclass(frozen=True, slots=True)
class _Operation:
    """Something that is done to a model."""

    kind: str
    task: "asyncio.Task[None]"


class Operations:
    """Operations by the model's name. For one event loop."""

    def __init__(self) -> None:
        self._newest: dict[str, _Operation] = {}
        """By the model's name, while there is something to do."""
        self._tasks: set[asyncio.Task[None]] = set()
        """All that is under way or waits for its turn."""

    async def do(self, name: str, kind: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `run` once what was begun on `name` before is done, or join it where it is that.

        Whoever leaves does not stop it. Raises what `run` raises.
        """
        newest = self._newest.get(name)
        if newest is None or newest.kind != kind or newest.task.done():
            before = None if newest is None else newest.task
            newest = _Operation(kind, asyncio.create_task(_after(before, run)))
            self._newest[name] = newest
            self._tasks.add(newest.task)
            newest.task.add_done_callback(partial(self._note_done, name))
        await asyncio.shield(newest.task)

    async def stop(self) -> None:
        """End what is under way, without its end."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note_done(self, name: str, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if name in self._newest and self._newest[name].task is task:
            del self._newest[name]
        if not task.cancelled():
            # Keeps asyncio from reporting an error whose caller has left.
            task.exception()


async def _after(
    before: "asyncio.Task[None] | None", run: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    if before is not None and not before.done():
        await asyncio.wait([before])
    await run()
