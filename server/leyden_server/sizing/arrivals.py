"""When requests come: at random, at a rate that changes over time."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from leyden_server.sizing.images import Kind

__all__ = ["Load", "bursts", "day", "drawn", "evenly"]


@dataclass(frozen=True, slots=True)
class Load:
    """A Poisson process: independent requests, `rate_at(t)` of them a second."""

    rate_at: Callable[[float], float]
    most_per_s: float
    """Above which the rate never is."""
    length_s: float

    def arrivals(self, chance: random.Random) -> Iterator[float]:
        """Yield the times of the requests, in seconds; the same ones for the same `chance`."""
        now_s = 0.0
        while (now_s := now_s + chance.expovariate(self.most_per_s)) < self.length_s:
            # Thinning: of requests at the highest rate so many are kept as the rate is.
            if chance.random() * self.most_per_s < self.rate_at(now_s):
                yield now_s


def evenly(rate_per_s: float, length_s: float) -> Load:
    """Return a load whose rate stays."""
    return Load(lambda _: rate_per_s, rate_per_s, length_s)


def bursts(
    rate_per_s: float, factor: float, length_s: float, *, every_s: float, last_s: float
) -> Load:
    """Return a load whose rate is multiplied for a while, again and again."""

    def rate_at(now_s: float) -> float:
        # The first one comes when the server has run for a while.
        into_s = (now_s - every_s / 2) % every_s
        return rate_per_s * factor if now_s >= every_s / 2 and into_s < last_s else rate_per_s

    return Load(rate_at, rate_per_s * factor, length_s)


def day(peak_per_s: float, night: float, length_s: float) -> Load:
    """Return a day's curve in `length_s`: a cosine from the night's share of the peak to it."""

    def rate_at(now_s: float) -> float:
        height = (1 - math.cos(2 * math.pi * now_s / length_s)) / 2
        return peak_per_s * (night + (1 - night) * height)

    return Load(rate_at, peak_per_s, length_s)


def drawn(kinds: tuple[Kind, ...], chance: random.Random) -> Kind:
    """Return one kind, by their shares."""
    if len(kinds) == 1:
        return kinds[0]
    return chance.choices(kinds, [kind.share for kind in kinds])[0]
