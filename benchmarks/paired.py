"""A and B in turns, and the median of their ratios: a drift of the machine meets both."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Middle", "difference_of", "in_turns", "ratio_of"]

RESAMPLES = 2000
TAIL = 0.025

Measured = TypeVar("Measured")


@dataclass(frozen=True, slots=True)
class Middle:
    """A median of pairs with its 95% bootstrap interval."""

    median: float
    low: float
    high: float
    pairs: int

    def shown(self, unit: str = "x") -> str:
        """Return it as the table shows it."""
        return f"{self.median:.3f} {unit} ({self.low:.3f} to {self.high:.3f}, {self.pairs} pairs)"


def in_turns(
    contestants: Mapping[str, Callable[[], Measured]], rounds: int
) -> dict[str, list[Measured]]:
    """Measure each once a round; who begins changes from round to round."""
    measured: dict[str, list[Measured]] = {name: [] for name in contestants}
    names = list(contestants)
    for _ in range(rounds):
        for name in names:
            measured[name].append(contestants[name]())
        names = [*names[1:], names[0]]
    return measured


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Middle:
    """Return the median of ours by theirs, pair by pair."""
    return _middle([one / other for one, other in zip(ours, theirs, strict=True)])


def difference_of(ours: Sequence[float], theirs: Sequence[float]) -> Middle:
    """Return the median of ours less theirs, pair by pair."""
    return _middle([one - other for one, other in zip(ours, theirs, strict=True)])


def _middle(values: Sequence[float]) -> Middle:
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    low, high = medians[round(TAIL * RESAMPLES)], medians[round((1 - TAIL) * RESAMPLES) - 1]
    return Middle(statistics.median(values), low, high, len(values))
