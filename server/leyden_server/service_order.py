"""Who is served first: the one key by which requests are admitted, placed, handed on and stepped.

It stands in the ground because the Gateway's line and the engine's batches both go by it, and
neither knows the other. Nothing else sorts images.
"""

import math
import time
from dataclasses import dataclass

__all__ = [
    "DEFAULT_PRIORITY",
    "PATIENCE_S",
    "PRIORITIES",
    "ServiceKey",
    "ServiceOrder",
    "TravellingOrder",
]

ServiceKey = tuple[int, float, float]

PRIORITIES = range(1, 10)
"""1 is first."""

DEFAULT_PRIORITY = 5

PATIENCE_S = 60.0
"""A request without a deadline is as urgent as one that is due so many seconds after it came,
and so many seconds of waiting raise the priority by one: nothing is passed over for ever."""


@dataclass(frozen=True, slots=True)
class TravellingOrder:
    """A ServiceOrder on its way to another process, whose clock is another: ages, not times."""

    priority: int = DEFAULT_PRIORITY
    waited_s: float = 0.0
    deadline_in_s: float | None = None

    def arrived(self) -> "ServiceOrder":
        """Return the order by this process's monotonic clock."""
        now = time.monotonic()
        deadline_s = None if self.deadline_in_s is None else now + self.deadline_in_s
        return ServiceOrder(self.priority, now - self.waited_s, deadline_s)


@dataclass(frozen=True, slots=True)
class ServiceOrder:
    """Where a request stands among others. Times are of the monotonic clock, in seconds."""

    priority: int
    """1 (first) to 9, as the request says it."""
    arrival_s: float
    deadline_s: float | None = None
    """By which its client wants it; None: the client waits for ever, or the request lingers."""

    def __post_init__(self) -> None:
        if self.priority not in PRIORITIES:
            raise ValueError(f"priority: {PRIORITIES[0]} to {PRIORITIES[-1]}; got {self.priority}")

    def key(self, now_s: float) -> ServiceKey:
        """Return what the requests are sorted by at `now_s`, the smallest first."""
        patience_s = self.arrival_s + PATIENCE_S
        due_s = patience_s if self.deadline_s is None else min(self.deadline_s, patience_s)
        return self.priority_at(now_s), due_s, self.arrival_s

    def priority_at(self, now_s: float) -> int:
        """Return the priority that it has risen to at `now_s`."""
        return max(PRIORITIES[0], self.priority - self._raised_by(now_s))

    def rises_at_s(self, now_s: float) -> float:
        """Return when its key changes after `now_s`; infinity where it cannot rise further."""
        if self.priority_at(now_s) == PRIORITIES[0]:
            return math.inf
        return self.arrival_s + PATIENCE_S * (self._raised_by(now_s) + 1)

    def _raised_by(self, now_s: float) -> int:
        return max(0, int((now_s - self.arrival_s) // PATIENCE_S))

    def travelling(self) -> TravellingOrder:
        """Return it as another process can read it."""
        now = time.monotonic()
        left_s = None if self.deadline_s is None else self.deadline_s - now
        return TravellingOrder(self.priority, now - self.arrival_s, left_s)
