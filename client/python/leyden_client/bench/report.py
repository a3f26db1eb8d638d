"""Samples to figures."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from leyden_client.bench.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a figure is spread over its samples."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self | None:
        """Return the spread; None where there are no values.

        Percentiles are interpolated between the two nearest values, as numpy's default does.
        """
        ordered = sorted(values)
        if not ordered:
            return None
        # `quantiles` wants two values at least.
        points = ordered * 2 if len(ordered) == 1 else ordered
        cuts = statistics.quantiles(points, n=100, method="inclusive")
        return cls(
            count=len(ordered),
            mean=statistics.fmean(ordered),
            p50=cuts[49],
            p95=cuts[94],
            p99=cuts[98],
            max=ordered[-1],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of a load. Spreads are over successful requests, in seconds."""

    span_s: float
    """From the first request's due time to the last one's end."""
    requests: int
    """Requests that ended, whatever way."""
    succeeded: int
    rejected: int
    """Refused with RESOURCE_EXHAUSTED: the server was full, or too late for the deadline."""
    errors: dict[str, int]
    """Other failures by code, with the server's reason where it gave one."""
    images: int
    """Images of successful requests."""
    images_per_s: float
    """`images` by `span_s`."""

    latency: Spread | None
    """From the due time to the last event."""
    first_event: Spread | None
    """From the due time to the first event."""
    first_progress: Spread | None
    """From the due time to the report of the first denoise step."""

    queue: Spread | None
    """As billed, as the rest is."""
    text_encode: Spread | None
    step: Spread | None
    """Each denoise step, of each image, with whatever shared its batch."""
    vae_decode: Spread | None
    image_encode: Spread | None
    total: Spread | None
    """From acceptance to the summary, by the server's clock."""
    mean_batch_rows: float | None
    """Rows of a step's UNet batch, averaged over steps as requests saw them."""


def summarize(samples: Sequence[Sample]) -> Report:
    """Return the figures of the requests that have ended."""
    good = [sample for sample in samples if sample.ok]
    bills = [sample.bill for sample in good if sample.bill is not None]
    of_images = [image for bill in bills for image in bill.images]
    steps = [step for image in of_images for step in image.steps]
    span_s = _span_s(samples)
    images = sum(sample.images for sample in good)
    return Report(
        span_s=span_s,
        requests=len(samples),
        succeeded=len(good),
        rejected=sum(sample.rejected for sample in samples),
        errors=_errors(samples),
        images=images,
        images_per_s=images / span_s if span_s > 0 else 0.0,
        latency=Spread.of(sample.latency_s for sample in good),
        first_event=Spread.of(
            sample.first_event_s - sample.planned_s
            for sample in good
            if sample.first_event_s is not None
        ),
        first_progress=Spread.of(
            sample.first_progress_s - sample.planned_s
            for sample in good
            if sample.first_progress_s is not None
        ),
        queue=Spread.of(bill.queue_s for bill in bills),
        text_encode=Spread.of(bill.text_encode_s for bill in bills),
        step=Spread.of(step.duration_s for step in steps),
        vae_decode=Spread.of(image.vae_decode_s for image in of_images),
        image_encode=Spread.of(image.image_encode_s for image in of_images),
        total=Spread.of(bill.total_s for bill in bills),
        mean_batch_rows=statistics.fmean(step.batch_rows for step in steps) if steps else None,
    )


def _span_s(samples: Sequence[Sample]) -> float:
    if not samples:
        return 0.0
    return max(sample.ended_s for sample in samples) - min(sample.planned_s for sample in samples)


def _errors(samples: Sequence[Sample]) -> dict[str, int]:
    failed = [sample for sample in samples if not sample.ok and not sample.rejected]
    counts = Counter(": ".join(filter(None, (s.code, s.reason))) for s in failed)
    return dict(counts.most_common())
