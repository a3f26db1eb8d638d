"""An asyncio event loop whose clock jumps to the next timer in place of waiting for it.

So the stages' own coroutines run here as they do in a server, an hour of theirs in seconds.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualTimeLoop", "run"]

Result = TypeVar("Result")


class _Jumps(selectors.SelectSelector):
    """Waits for no file: `select` tells how long the loop would have slept."""

    def __init__(self, slept: Callable[[float | None], None]) -> None:
        super().__init__()
        self._slept = slept

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._slept(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 0 s; what is due at the same time runs in the order in which it was asked for."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Jumps(self._sleep))

    def time(self) -> float:
        """Return the seconds that have passed, by this loop's own clock."""
        return self._now_s

    def _sleep(self, timeout: float | None) -> None:
        if timeout is None:
            raise RuntimeError("everybody waits and no timer is set: this would wait for ever")
        self._now_s += max(0.0, timeout)


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in virtual time; Ctrl-C ends it as it ends `asyncio.run`."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
