"""The generations of one request, one a row: all of them are started, or none is."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from leyden_server.gateway.kserve_v2.decoding import Asked
from leyden_server.generations.call import Call
from leyden_server.generations.home import Caller
from leyden_server.generations.registry import Generations
from leyden_server.generations.watching import Watching

__all__ = ["Rows"]

Result = TypeVar("Result")


class Rows:
    """Watches the generations of all rows; a context manager that leaves them in any case."""

    def __init__(self) -> None:
        self._watched: list[Watching] = []

    async def start(self, generations: Generations, asked: Asked, caller: Caller) -> None:
        """Begin a generation for each row.

        Raises:
            RequestError: one is refused; those that began by then end as it does.

        """
        begun, call = 0, None
        if len(asked.rows) > 1:
            call = Call(images=len(asked.rows))  # each has one then
        caller.call = call
        try:
            for index, request in enumerate(asked.rows):
                begun += 1
                watching = await generations.start(request, caller, asked.vocabulary(index))
                self._watched.append(watching)
        except Exception as error:
            for watching in self._watched:
                watching.take_back(error)
            raise
        finally:
            if call is not None:
                call.began(begun)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave(error=error if isinstance(error, Exception) else None)

    def leave(self, code: str = "", error: Exception | None = None) -> None:
        """Stop watching all of them, which ends those that run. Harmless when repeated.

        `code` says how the client left, where it did, and `error` why it was sent away.
        """
        for watching in self._watched:
            watching.leave(code, error)

    async def side_by_side(
        self, follow: Callable[[int, Watching], Coroutine[Any, Any, Result]]
    ) -> list[Result]:
        """Follow every row at once, each by its number; the first error ends them all."""
        if len(self._watched) == 1:  # needs no task of its own
            return [await follow(0, self._watched[0])]
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(follow(index, watching))
                    for index, watching in enumerate(self._watched)
                ]
        except ExceptionGroup as group:
            raise _first(group) from None
        return [task.result() for task in running]


def _first(error: Exception) -> Exception:
    """Return the first error of a task group; the others are its cancelled siblings'."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
