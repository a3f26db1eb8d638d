"""What `leyden bench` shows: a live line while it runs, and tables at the end."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from leyden_client.bench.load import Limit
from leyden_client.bench.report import Report, Spread, summarize
from leyden_client.bench.sample import Sample

_LINE_EVERY_S = 10.0
_REDRAW_EVERY_S = 0.25


class Display(Protocol):
    """Shows a load's progress; a context manager for as long as it shows."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def warming_up(self, done: int, total: int) -> None:
        """Show how many of the warm-up's requests have ended."""

    def begin(self) -> None:
        """Note that what counts begins now."""

    def update(self) -> None:
        """Show what the samples say now."""


def open_display(limit: Limit, samples: Sequence[Sample]) -> Display:
    """Return the display that suits stderr, of a load that adds to `samples`."""
    return LiveDisplay(limit, samples) if sys.stderr.isatty() else PlainDisplay(limit, samples)


class _Display:
    """What both displays know."""

    def __init__(self, limit: Limit, samples: Sequence[Sample]) -> None:
        self._limit = limit
        self._samples = samples
        self._began_s = self._shown_s = 0.0

    def begin(self) -> None:
        """Note that what counts begins now."""
        self._began_s = self._shown_s = time.monotonic()

    def _is_due(self, period_s: float) -> bool:
        now = time.monotonic()
        due = now - self._shown_s >= period_s
        if due:
            self._shown_s = now
        return due

    def _shares_done(self) -> tuple[float, str]:
        """Return how much is done, from 0 to 1, and in words."""
        elapsed_s, done = time.monotonic() - self._began_s, len(self._samples)
        words, share = f"{done} requests, {elapsed_s:.0f} s", 0.0
        if self._limit.requests is not None:
            share = done / self._limit.requests
            words = f"{done} of {self._limit.requests} requests, {elapsed_s:.0f} s"
        if self._limit.duration_s is not None:
            share = max(share, elapsed_s / self._limit.duration_s)
            words += f" of {self._limit.duration_s:.0f} s"
        return min(share, 1.0), words

    def _figures(self) -> str:
        report = summarize(self._samples)
        words = [f"{report.images_per_s:.2f} images/s"]
        if report.latency is not None:
            words.append(f"p50 {_ms(report.latency.p50)} ms")
        if report.rejected:
            words.append(f"{report.rejected} rejected")
        if report.errors:
            words.append(f"{sum(report.errors.values())} errors")
        return ", ".join(words)


class PlainDisplay(_Display):
    """A line on stderr every few seconds, for logs and pipes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def warming_up(self, done: int, total: int) -> None:
        """Say that the warm-up begins."""
        if done == 0:
            print(f"warming up with {total} requests", file=sys.stderr, flush=True)

    def update(self) -> None:
        """Print a line where the last one is old enough."""
        if self._is_due(_LINE_EVERY_S):
            _, words = self._shares_done()
            print(f"{words}: {self._figures()}", file=sys.stderr, flush=True)


class LiveDisplay(_Display):
    """A bar on stderr with the figures so far."""

    def __init__(self, limit: Limit, samples: Sequence[Sample]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        super().__init__(limit, samples)
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("connecting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def warming_up(self, done: int, total: int) -> None:
        """Show how far the warm-up is."""
        self._progress.update(self._task, description=f"warm-up, request {done + 1} of {total}")

    def begin(self) -> None:
        """Show that the load begins."""
        super().begin()
        self._progress.update(self._task, total=1.0, description="loading")

    def update(self) -> None:
        """Redraw where the last time is long enough ago."""
        if self._is_due(_REDRAW_EVERY_S):
            share, words = self._shares_done()
            self._progress.update(
                self._task, completed=share, description=f"{words}: {self._figures()}"
            )


def print_report(report: Report) -> None:
    """Print the figures on stdout."""
    from rich.console import Console
    from rich.table import Table

    counts = Table("requests", "succeeded", "rejected", "errors", "images", "seconds", "images/s")
    counts.add_row(
        str(report.requests),
        str(report.succeeded),
        str(report.rejected),
        str(sum(report.errors.values())),
        str(report.images),
        f"{report.span_s:.1f}",
        f"{report.images_per_s:.3f}",
    )
    times = Table("ms", *[name for name, _ in _COLUMNS], title="successful requests")
    for column in times.columns[1:]:
        column.justify = "right"
    for name, field in _ROWS:
        spread: Spread | None = getattr(report, field)
        if spread is not None:
            times.add_row(name, *[_ms(getattr(spread, column)) for _, column in _COLUMNS])
    console = Console()
    console.print(counts)
    if times.row_count:
        console.print(times)
    if report.mean_batch_rows is not None:
        console.print(f"rows of a denoise step's batch, on average: {report.mean_batch_rows:.2f}")
    for error, count in report.errors.items():
        console.print(f"{count} x {error}", markup=False)


_COLUMNS = (("mean", "mean"), ("p50", "p50"), ("p95", "p95"), ("p99", "p99"), ("max", "max"))
_ROWS = (
    ("latency", "latency"),
    ("to first event", "first_event"),
    ("to first denoise progress", "first_progress"),
    ("billed: queue", "queue"),
    ("billed: text encode", "text_encode"),
    ("billed: one denoise step", "step"),
    ("billed: VAE decode", "vae_decode"),
    ("billed: image encode", "image_encode"),
    ("billed: total", "total"),
)


def _ms(seconds: float) -> str:
    milliseconds = 1000 * seconds
    return f"{milliseconds:.1f}" if milliseconds < 1000 else f"{milliseconds:.0f}"
