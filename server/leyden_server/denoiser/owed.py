"""What the engine has counted and told nobody yet."""

from collections import deque

from leyden_server.stages.tally import EngineTally, UNetRun

__all__ = ["Owed"]


class Owed:
    """Filled by the engine's thread, emptied by one other: a deque needs no lock for that.

    What a run has counted does not belong to one of its images: that image's client may have
    left meanwhile. It goes with whichever answer is next.
    """

    def __init__(self) -> None:
        self._runs: deque[UNetRun] = deque()
        self._left: deque[int] = deque()

    def ran(self, run: UNetRun) -> None:
        """Count a run of the UNet."""
        self._runs.append(run)

    def left(self, rows_saved: int) -> None:
        """Count an image that has left, and the rows that need not run for it."""
        self._left.append(rows_saved)

    def take(self) -> EngineTally | None:
        """Return what was counted since the last time; None: nothing."""
        if not self._runs and not self._left:
            return None
        runs = tuple(self._runs.popleft() for _ in range(len(self._runs)))
        left = [self._left.popleft() for _ in range(len(self._left))]
        return EngineTally(runs, len(left), sum(left))
