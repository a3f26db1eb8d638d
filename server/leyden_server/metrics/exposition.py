"""The page's text, in Prometheus' own format or as OpenMetrics, by the library of Prometheus."""

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import exposition
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

from leyden_server.metrics.ledger import Ledger
from leyden_server.metrics.metric import Labels, Metric
from leyden_server.metrics.table import METRICS

__all__ = ["OPENMETRICS", "PLAIN", "written"]

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

# The library has types for Prometheus' own format alone.
_as_openmetrics: "Callable[[_Families], bytes]" = openmetrics.generate_latest
_go_float: Callable[[float], str] = floatToGoString

TYPES = {"counter": "counter", "bare": "unknown", "gauge": "gauge", "histogram": "histogram"}
"""As the library names them. In its own format a counter without `_total` has no type."""


def written(ledger: Ledger, accept: str) -> tuple[bytes, str]:
    """Return the page and its content type, by the Accept header of who asks.

    OpenMetrics for those who prefer it, as Prometheus does; Prometheus' text format to all others.
    """
    families = _Families(ledger)
    if _quality(accept, OPENMETRICS) > _quality(accept, PLAIN):
        return _as_openmetrics(families), OPENMETRICS
    return exposition.generate_latest(families), PLAIN


class _Families:
    """A collector as the library takes one: its own counters could not have Triton's names."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Family]:
        """Yield every metric with its series."""
        for metric in METRICS:
            name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
            family = Family(name, metric.help, TYPES[metric.kind])
            for labels, value in self._ledger.numbers(metric).items():
                family.add_sample(metric.name, _named(metric, labels), value)
            self._add_histograms(family, metric)
            yield family

    def _add_histograms(self, family: Family, metric: Metric) -> None:
        bounds = [*(_go_float(bound) for bound in metric.buckets), "+Inf"]
        for labels, histogram in self._ledger.histograms(metric).items():
            named = _named(metric, labels)
            counts = list(accumulate(histogram.counts))
            for bound, count in zip(bounds, counts, strict=True):
                family.add_sample(f"{metric.name}_bucket", {**named, "le": bound}, count)
            family.add_sample(f"{metric.name}_count", named, counts[-1])
            family.add_sample(f"{metric.name}_sum", named, histogram.total)


def _named(metric: Metric, labels: Labels) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))


def _quality(accept: str, content_type: str) -> float:
    """Return how much an Accept header wants a type, of 1 at most; 0 where it is not named."""
    wanted = content_type.partition(";")[0]
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media.lower() == wanted:
            written_q = next((p[2:] for p in parameters if p.lower().startswith("q=")), "1")
            try:
                return float(written_q)
            except ValueError:
                return 0.0
    return 0.0
