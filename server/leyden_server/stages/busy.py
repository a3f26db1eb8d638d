"""How much of the last seconds something has run."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["WINDOW_S", "BusyClock"]

WINDOW_S = 10.0
"""What a busy share is of, in seconds."""


class BusyClock:
    """One thread notes when it runs, any may read. Another clock is a test's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = clock()
        self._running_s: float | None = None
        """Since when it runs now; None: it does not."""
        self._runs: deque[tuple[float, float]] = deque()
        """Beginning and end of each run that reaches into the window."""
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time until it is left."""
        with self._lock:
            self._running_s = self._clock()
        try:
            yield
        finally:
            with self._lock:
                now = self._clock()
                assert self._running_s is not None, "one thread runs one thing at a time"
                self._runs.append((self._running_s, now))
                self._running_s = None
                self._drop_old(now)

    def share(self) -> float:
        """Return the part of the last `WINDOW_S` in which something ran, from 0 to 1.

        In the first seconds, the part of those.
        """
        with self._lock:
            now = self._clock()
            self._drop_old(now)
            window_s = min(WINDOW_S, now - self._began_s)
            if window_s <= 0:
                return 0.0
            since_s = now - window_s
            busy_s = sum(ended_s - max(since_s, began_s) for began_s, ended_s in self._runs)
            if self._running_s is not None:
                busy_s += now - max(since_s, self._running_s)
            return min(1.0, busy_s / window_s)

    def _drop_old(self, now: float) -> None:
        while self._runs and self._runs[0][1] <= now - WINDOW_S:
            self._runs.popleft()
