"""How many of the rows that are there a run is to take, by what it takes by its rows. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["RowTimes"]

IDLE = 0.1
"""Share of the time in which a stage has nothing to do, at the load that it is set up for: 90%."""

FULL_LINE = 4
"""So many of its largest runs a replica holds where it is full: `max_ongoing_requests`' 32 images,
and `max_batch_rows`' 8 rows."""


@dataclass(frozen=True, slots=True)
class RowTimes:
    """What a run takes by its number of rows, from one to the most that one may have.

    Of n rows that are there a run takes the r that make n t(r) / r + `IDLE` t(r) least, where
    t(r) is its time. The first part is how long the line lasts, the second what those in the run
    wait for each other. A second that the line lasts longer is one for everybody in it, and for
    all who come before it ends: a busy period lasts 1 / (1 - load) times the work that it begins
    with (Kleinrock, Queueing Systems I, 5.8: the mean of M/G/1's), so at a load of 90% ten times
    that second. A second of a longer run is one for those in it, once.

    So a doubling has to be worth its length: of few rows that are there it has to gain much, of a
    long line little, and rows for which a run would be padded seldom pay.
    """

    seconds: tuple[float, ...]
    """Of one row, of two, …"""

    @classmethod
    def of(cls, measured: Mapping[int, float], *, padded: bool) -> Self:
        """Fill in what lies between the numbers of rows that were measured; one row was.

        `padded` is whether a run is padded up to the next of them; else its time lies on the
        straight line between its neighbours.
        """
        known = sorted(measured)
        seconds = []
        for rows in range(1, known[-1] + 1):
            above = next(n for n in known if n >= rows)
            below = max(n for n in known if n <= rows)
            share = 1.0 if padded or above == below else (rows - below) / (above - below)
            seconds.append(measured[below] + share * (measured[above] - measured[below]))
        return cls(tuple(seconds))

    @classmethod
    def flat(cls, most: int) -> Self:
        """Return what is taken where nothing is measured: up to `most`, all that are there pay."""
        return cls((1.0,) * most)

    @property
    def most(self) -> int:
        """The most rows that a run may have."""
        return len(self.seconds)

    @property
    def cap(self) -> int:
        """The rows of a run where the replica is full."""
        return self.paying(FULL_LINE * self.most)

    def paying(self, there: int) -> int:
        """Return how many of `there` rows the next run is to take; of equally good ones the least.

        Those that are left are there for the run after it.
        """
        choices = range(1, min(there, self.most) + 1)
        return min(choices, key=lambda rows: (there / rows + IDLE) * self.seconds[rows - 1])

    def up_to(self, most: int) -> Self:
        """Return the times of so many rows at the most."""
        return type(self)(self.seconds[:most])
