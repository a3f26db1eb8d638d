"""Numbers by metric and labels: what one Gateway counts, or several together."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Self

from leyden_server.metrics.metric import Labels, Metric

__all__ = ["Histogram", "Ledger"]

Numbers = dict[Labels, float]


class Histogram:
    """How often a value fell into each bucket, and what all values come to."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: list[int], total: float = 0.0) -> None:
        """Take counts: one for each bucket, and one for what is above all of them."""
        self.counts = counts
        self.total = total

    def add(self, other: Self) -> None:
        """Add what another one has."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Ledger:
    """Counted in one event loop: no locks. Each method does one or two look-ups in dicts."""

    def __init__(self) -> None:
        self._numbers: dict[str, Numbers] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}

    def add(self, metric: Metric, labels: Labels = (), amount: float = 1) -> None:
        """Count `amount` more."""
        numbers = self._numbers.setdefault(metric.name, {})
        numbers[labels] = numbers.get(labels, 0) + amount

    def put(self, metric: Metric, labels: Labels, value: float) -> None:
        """Set a value, whatever it was."""
        self._numbers.setdefault(metric.name, {})[labels] = value

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Count a value of a histogram."""
        histogram = self._histogram(metric, labels)
        histogram.counts[bisect_left(metric.buckets, value)] += 1
        histogram.total += value

    def begin(self, metric: Metric, labels: Labels) -> None:
        """Have a series from now on, at 0 unless there is more."""
        if metric.kind == "histogram":
            self._histogram(metric, labels)
        else:
            self._numbers.setdefault(metric.name, {}).setdefault(labels, 0)

    def numbers(self, metric: Metric) -> Mapping[Labels, float]:
        """Return all series of a metric that is no histogram."""
        return self._numbers.get(metric.name, {})

    def histograms(self, metric: Metric) -> Mapping[Labels, Histogram]:
        """Return all series of a histogram."""
        return self._histograms.get(metric.name, {})

    def value(self, metric: Metric, *labels: str) -> float:
        """Return one series' value; 0 where there is none."""
        return self.numbers(metric).get(labels, 0)

    def clear(self, metric: Metric) -> None:
        """Forget all series of a metric that is no histogram."""
        self._numbers.pop(metric.name, None)

    def merge(self, other: "Ledger", metric: Metric) -> None:
        """Take in what another ledger has of a metric."""
        for labels, histogram in other.histograms(metric).items():
            self._histogram(metric, labels).add(histogram)
        own = self._numbers.setdefault(metric.name, {})
        for labels, value in other.numbers(metric).items():
            if metric.merged_by == "max":
                own[labels] = max(own.get(labels, value), value)
            elif metric.merged_by == "min":
                own[labels] = min(own.get(labels, value), value)
            else:
                own[labels] = own.get(labels, 0) + value

    def as_data(self, metrics: tuple[Metric, ...]) -> dict[str, object]:
        """Return these metrics as JSON has them."""
        return {metric.name: [*self._series(metric)] for metric in metrics}

    def put_data(self, data: Mapping[str, object], metrics: tuple[Metric, ...]) -> None:
        """Take these metrics from what `as_data` returned, of a ledger that had none.

        Raises:
            ValueError: it is something else.

        """
        for metric in metrics:
            series = data.get(metric.name, [])
            if not isinstance(series, list):
                raise ValueError(f"{metric.name}: no list of series")  # noqa: TRY004
            for labels, *values in series:
                if metric.kind == "histogram":
                    histogram = self._histogram(metric, tuple(labels))
                    histogram.add(Histogram(values[0], values[1]))
                else:
                    self.put(metric, tuple(labels), values[0])

    def _series(self, metric: Metric) -> Iterator[list[object]]:
        for labels, value in self.numbers(metric).items():
            yield [labels, value]
        for labels, histogram in self.histograms(metric).items():
            yield [labels, histogram.counts, histogram.total]

    def _histogram(self, metric: Metric, labels: Labels) -> Histogram:
        histograms = self._histograms.setdefault(metric.name, {})
        if labels not in histograms:
            histograms[labels] = Histogram([0] * (len(metric.buckets) + 1))
        return histograms[labels]
