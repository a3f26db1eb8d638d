"""Timing by CUDA events on a GPU and by the process's clock on a CPU; medians with spread."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

__all__ = ["DeviceClock", "spread", "synchronize"]


class DeviceClock:
    """Notes how long the device is busy with marked regions. One thread marks.

    On a GPU an event before and one after the region's kernels are put on the stream, which
    waits for nothing; they are read once the device has passed them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._milliseconds: list[float] = []

    @contextmanager
    def region(self) -> Iterator[None]:
        """Mark what the block asks of the device."""
        if self._device.type != "cuda":
            started_s = time.perf_counter()
            yield
            self._milliseconds.append(1000 * (time.perf_counter() - started_s))
            return
        start, end = _event(), _event()
        start.record()
        yield
        end.record()
        self._events.append((start, end))

    def take(self) -> list[float]:
        """Return the regions since the last call, in milliseconds, and forget them."""
        synchronize(self._device)
        taken = self._milliseconds + [start.elapsed_time(end) for start, end in self._events]
        self._events, self._milliseconds = [], []
        return taken


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch's own


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(milliseconds: Sequence[float]) -> dict[str, float | int]:
    """Return the median, the fastest, the tenth and the ninetieth percentile."""
    if len(milliseconds) == 1:
        (only,) = milliseconds
        return {"median": only, "min": only, "p10": only, "p90": only, "runs": 1}
    deciles = statistics.quantiles(milliseconds, n=10, method="inclusive")
    return {
        "median": statistics.median(milliseconds),
        "min": min(milliseconds),
        "p10": deciles[0],
        "p90": deciles[-1],
        "runs": len(milliseconds),
    }
