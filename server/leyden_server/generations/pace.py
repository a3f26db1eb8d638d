"""How long things take, and what follows from that for those who wait."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Stranger", "Working", "smoothed", "starts_s", "work_of"]

SMOOTHING = 0.2
"""Weight of the newest step, or request, in the running means of their durations."""


class Working(Protocol):
    """What is to be denoised."""

    @property
    def rows(self) -> int:
        """UNet rows of each step."""

    @property
    def steps_left(self) -> int:
        """Steps that have not run."""

    @property
    def started(self) -> bool:
        """Whether its first step has begun."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """The images of other Gateways in the engines, as one."""

    rows: int
    steps_left: int
    started: bool = True


def work_of(one: Working) -> tuple[int, int, bool]:
    """Return it as `starts_s` takes it."""
    return one.rows, one.steps_left, one.started


def starts_s(work: Sequence[tuple[int, int, bool]], capacity: int) -> list[int]:
    """Return after how many steps each image starts, where all are served in this order.

    `work` has each image's rows, its steps left and whether it runs already; `capacity` is the
    rows of one step. An image that does not fit beside those before it waits for one of them
    to end, and whatever comes first is stepped however many rows it has: the policy of
    `denoiser/step_scheduler.py`, as far as the line knows it.
    """
    starts: list[int] = []
    ends: list[tuple[int, int]] = []  # a heap: at which step rows become free, and how many
    used, now = 0, 0
    for rows, steps_left, started in work:
        while ends and used + rows > capacity:
            now, free = heapq.heappop(ends)
            used -= free
        starts.append(0 if started else now)
        heapq.heappush(ends, (now + steps_left, rows))
        used += rows
    return starts


def smoothed(mean: float | None, newest: float) -> float:
    """Return the running mean with one more duration in it; None: it is the first."""
    return newest if mean is None else mean + SMOOTHING * (newest - mean)
