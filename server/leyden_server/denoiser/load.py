"""How much an engine still has to do, as its callers are told. No torch."""

from collections.abc import Iterable
from typing import Protocol

from leyden_server.service_order import PRIORITIES, ServiceOrder
from leyden_server.stages.contract import EngineLoad

__all__ = ["Loading", "RunningMean", "engine_load"]


class Loading(Protocol):
    """What counts of an image."""

    @property
    def order(self) -> ServiceOrder:
        """Of which its priority by now is counted under."""

    @property
    def rows(self) -> int:
        """UNet rows of each of its steps."""

    @property
    def steps_left(self) -> int:
        """Steps that have not run yet."""


class RunningMean:
    """A mean in which the newest value counts a tenth, once there are ten; 0 before any."""

    NEWEST_SHARE = 0.1

    def __init__(self) -> None:
        self.value = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        """Take one more value into the mean."""
        self._count += 1
        self.value += max(1 / self._count, self.NEWEST_SHARE) * (value - self.value)


def engine_load(
    waiting: Iterable[Loading],
    running: Iterable[Loading],
    now_s: float,
    *,
    step_s: float,
    row_cap: int,
) -> EngineLoad:
    """Count rows, steps and images by their priority at the monotonic time `now_s`."""
    row_steps, rows, waiting_images = ([0] * len(PRIORITIES) for _ in range(3))

    def count(image: Loading) -> int:
        index = _index(image, now_s)
        row_steps[index] += image.rows * image.steps_left
        rows[index] += image.rows
        return index

    for image in running:
        count(image)
    for image in waiting:
        waiting_images[count(image)] += 1
    return EngineLoad(tuple(row_steps), tuple(rows), tuple(waiting_images), step_s, row_cap)


def _index(image: Loading, now_s: float) -> int:
    return PRIORITIES.index(image.order.priority_at(now_s))
