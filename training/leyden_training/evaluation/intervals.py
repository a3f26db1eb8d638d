"""Intervals: every figure of the evaluation comes with one.

The bootstrap draws prompts with replacement, and every measure of one evaluation uses the same
draws: two systems are compared on the same prompts in each of them.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "Floats", "Interval", "resamples", "wilson"]

Floats = npt.NDArray[np.float64]

COVERAGE = 0.95
"""Of every interval here."""

Z = 1.959963984540054
"""The normal quantile that belongs to it."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval."""

    estimate: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """As a dictionary; what is not finite is None, which JSON has."""
        values = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return {name: v if math.isfinite(v) else None for name, v in values.items()}


@dataclass(frozen=True)
class Estimate:
    """An estimate and what it was in each bootstrap draw."""

    value: float
    draws: Floats
    """(R,)."""

    def over(self, other: "Estimate") -> "Estimate":
        """Divide by another one from the same draws.

        Where that is not above 0, a draw is infinite, since there it is where the ratio grows
        without bound; or not a number, where nothing is divided.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            without_bound = np.where(self.draws > 0, np.inf, np.nan)
            draws = np.where(other.draws > 0, self.draws / other.draws, without_bound)
        value = self.value / other.value if other.value > 0 else math.nan
        return Estimate(value, draws)

    def interval(self) -> Interval:
        """Return the percentile interval, unknown where a draw in twenty is not a number.

        A bound is infinite where that many draws are.
        """
        known = self.draws[~np.isnan(self.draws)]
        if len(known) <= COVERAGE * len(self.draws):
            return Interval(self.value, math.nan, math.nan)
        tail = (1 - COVERAGE) / 2
        # A quantile between two infinite draws would not be a number.
        low, high = np.quantile(known, [tail, 1 - tail], method="inverted_cdf")
        return Interval(self.value, float(low), float(high))


def resamples(groups: int, draws: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Draw indices (draws, groups) of groups drawn with replacement."""
    return np.random.default_rng([seed, groups]).integers(groups, size=(draws, groups))


def wilson(hits: int, count: int) -> Interval:
    """Wilson's score interval of a share (J. Am. Stat. Assoc. 22, 1927).

    Raises:
        ValueError: if `hits` is outside [0, count] or there are none.

    """
    if not 0 <= hits <= count or count == 0:
        raise ValueError(f"hits: {hits} of {count} is no share")
    share = hits / count
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))
