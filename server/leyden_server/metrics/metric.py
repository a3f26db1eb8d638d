"""What a metric is."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Labels", "Metric"]

Labels = tuple[str, ...]
"""Values, in the order of a metric's label names."""

Kind = Literal["counter", "bare", "gauge", "histogram"]
"""A `bare` one counts up as a counter does, under a name of Triton's, which lacks `_total`."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: a row of the table."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    """One sentence, for the page."""
    use: str
    """What it is for: a query or an alert, for docs/metrics.md."""
    buckets: tuple[float, ...] = ()
    """Of a histogram: the upper bounds, in seconds."""
    merged_by: Literal["sum", "max", "min"] = "sum"
    """How the values of several Gateways on one page become one."""
