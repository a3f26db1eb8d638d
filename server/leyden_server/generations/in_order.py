"""Places sorted by the order of service, without a sort for every look at them."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from leyden_server.generations.place import Place
from leyden_server.service_order import ServiceKey

__all__ = ["InOrder"]


class InOrder:
    """Sorted by `ServiceOrder.key`; of equal keys the one that came earlier stands first.

    A key changes only where a minute of waiting raises a priority, so what was sorted once stays
    so until the first of those minutes is over.
    """

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._keys: list[ServiceKey] = []
        self._sorted_until_s = math.inf

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: Place, now_s: float) -> None:
        """Put a place where it belongs at `now_s`."""
        self._sort(now_s)
        key = place.order.key(now_s)
        index = bisect_right(self._keys, key)
        self._places.insert(index, place)
        self._keys.insert(index, key)
        self._sorted_until_s = min(self._sorted_until_s, place.order.rises_at_s(now_s))

    def remove(self, place: Place) -> None:
        """Take a place out."""
        index = self._places.index(place)
        del self._places[index], self._keys[index]

    def at(self, now_s: float) -> Sequence[Place]:
        """Return all, in the order of `now_s`. Read it before anything is added or removed."""
        self._sort(now_s)
        return self._places

    def before(self, place: Place, now_s: float) -> Sequence[Place]:
        """Return what comes before a place at `now_s`, whether or not that is among them."""
        self._sort(now_s)
        key = place.order.key(now_s)
        end = bisect_right(self._keys, key)
        for index in range(bisect_left(self._keys, key), end):
            if self._places[index] is place:
                return self._places[:index]
        return self._places[:end]

    def _sort(self, now_s: float) -> None:
        if now_s < self._sorted_until_s:
            return
        self._places.sort(key=lambda place: place.order.key(now_s))
        self._keys = [place.order.key(now_s) for place in self._places]
        self._sorted_until_s = min(
            (place.order.rises_at_s(now_s) for place in self._places), default=math.inf
        )
