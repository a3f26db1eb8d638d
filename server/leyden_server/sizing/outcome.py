"""What a simulation saw."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Outcome", "Sample", "percentile"]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the sorted values do not exceed."""
    return values[max(0, min(len(values) - 1, -int(-share * len(values) // 1) - 1))]


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment."""

    at_s: float
    running: dict[str, int]
    """Replicas of each stage."""
    target: dict[str, int]
    """Those that Serve aims at."""
    ongoing: dict[str, int]
    """Calls open at each stage."""
    waiting: int
    """Images in the Gateways' lines that no step has begun for."""
    arrived: int
    """So far."""


@dataclass(slots=True)
class Outcome:
    """Of one scenario. Times of images are by those that came after the warm-up."""

    name: str
    length_s: float
    """From the first arrival's clock to the last image."""
    offered: int = 0
    """Requests that came."""
    ends: Counter[str] = field(default_factory=Counter)
    """How each of them ended; "" with its picture."""
    retried: int = 0
    """Stages that were run again because a replica had died."""
    latencies_s: list[float] = field(default_factory=list)
    """Of the pictures, sorted."""
    finished: list[tuple[float, float]] = field(default_factory=list)
    """Of each picture: when it came, and after how long."""
    samples: list[Sample] = field(default_factory=list)
    busy: dict[str, float] = field(default_factory=dict)
    """Share of the time: of each stage its runs alone, by its replicas; of the busiest Gateway's
    core, of the directory's, and of the cards."""

    @property
    def done(self) -> int:
        """Requests that ended with their picture."""
        return self.ends[""]

    @property
    def lost(self) -> int:
        """Requests that ended without."""
        return self.ends.total() - self.done

    def latency_s(self, share: float) -> float:
        """Return what so large a share of the pictures took at the most; 0 without any."""
        return percentile(self.latencies_s, share) if self.latencies_s else 0.0

    def meets(self, p95_s: float) -> bool:
        """Tell whether every request got its picture, and 95 of 100 in time."""
        return self.lost == 0 and self.latency_s(0.95) <= p95_s
