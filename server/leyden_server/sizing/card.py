"""A GPU that several processes share: each run gets an equal part of it, as time slices give."""

import asyncio
import heapq
from itertools import count

__all__ = ["Card"]

EPSILON_S = 1e-12


class Card:
    """Runs of models by their length, in seconds that they take alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy_s = 0.0
        """For how long anything has run."""
        self.is_lost = False
        self._served_s = 0.0
        """What each run has got that was there all the time."""
        self._since_s = 0.0
        self._runs: list[tuple[float, int, asyncio.Future[None]]] = []
        """A heap: at which `_served_s` each run ends."""
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, seconds: float) -> None:
        """Return when a run of so many seconds is over; never, where the card is lost."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._serve()
        heapq.heappush(self._runs, (self._served_s + seconds, next(self._numbers), done))
        self._set_timer()
        await done

    async def here(self) -> None:
        """Return at once; never, where the card's machine is lost."""
        if self.is_lost:
            await asyncio.get_running_loop().create_future()

    def lose(self) -> None:
        """Let nothing that runs, or comes, ever end."""
        self._serve()
        self.is_lost = True
        self._set_timer()

    def restore(self) -> None:
        """Be a card again, on which nothing runs."""
        self._runs.clear()
        self.is_lost = False
        self._since_s = asyncio.get_running_loop().time()

    def settle(self) -> None:
        """Bring `busy_s` up to now."""
        self._serve()

    def _serve(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._runs and not self.is_lost:
            self._served_s += (now_s - self._since_s) / len(self._runs)
            self.busy_s += now_s - self._since_s
        self._since_s = now_s

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._runs and not self.is_lost:
            left_s = max(0.0, self._runs[0][0] - self._served_s) * len(self._runs)
            self._timer = asyncio.get_running_loop().call_later(left_s, self._end_runs)

    def _end_runs(self) -> None:
        self._serve()
        first = True
        # The first is due, whatever rounding says.
        while self._runs and (first or self._runs[0][0] <= self._served_s + EPSILON_S):
            _, _, done = heapq.heappop(self._runs)
            if not done.done():
                done.set_result(None)
            first = False
        self._set_timer()
