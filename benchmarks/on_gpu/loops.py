"""What a peer of the GPU comparison is asked, and the figures of its loads."""

import statistics
from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from benchmarks.load import steady_images_per_s
from leyden_client.bench import Sample

__all__ = ["NotRunError", "Peer", "done", "figures", "parts", "pixel_difference"]


class NotRunError(Exception):
    """A peer cannot take part here; the message is the reason."""


class Peer(Protocol):
    """A server, or diffusers in this process; ready when it is there."""

    start_to_ready_s: float
    """From the command, or the first line that loads, until it can answer at its full speed."""

    def picture(self) -> NDArray[Any]:
        """Return the pixels (H, W, 3) of the prompt and seed that all are compared by."""

    def closed(self, clients: int, requests: int) -> list[Sample]:
        """Let so many clients ask for an image each, again and again."""

    def open(self, arrivals: Sequence[float]) -> list[Sample]:
        """Ask at these seconds, however many images are under way."""


def figures(samples: list[Sample], *, clients: int | None = None) -> dict[str, Any]:
    """Return what the JSON has of a load; of a closed loop with `clients` its rate too."""
    latencies = [sample.latency_s for sample in samples]
    first = [_since(sample, sample.first_event_s) for sample in samples]
    steps = [_since(sample, sample.first_progress_s) for sample in samples]
    found: dict[str, Any] = {"requests": len(samples)}
    if clients is not None:
        found |= {"clients": clients, "images_per_s": steady_images_per_s(samples, clients)}
    return found | {
        "latency_s": _spread(latencies),
        "first_event_s": _spread(first),
        "first_step_s": _spread(steps),
        "of_which_s": parts(samples),
    }


def done(planned_s: float, ended_s: float) -> Sample:
    """Return the sample of one image of a peer that says nothing before it: its first event."""
    return Sample(
        planned_s=planned_s,
        first_event_s=ended_s,
        first_progress_s=None,
        ended_s=ended_s,
        images=1,
        num_inference_steps=0,
        code="OK",
        reason="",
        bill=None,
    )


def pixel_difference(found: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
    """Return the mean difference of two images in steps of 255, and of one upside down.

    The second shows what two images that have nothing to do with each other differ by.
    """
    wide = found.astype("int16")
    return {
        "mean_difference": float(abs(wide - expected).mean()),
        "mean_difference_upside_down": float(abs(wide[::-1] - expected).mean()),
    }


def _since(sample: Sample, at_s: float | None) -> float | None:
    return None if at_s is None else at_s - sample.planned_s


def _spread(seconds: Sequence[float | None]) -> dict[str, float] | None:
    known = sorted(value for value in seconds if value is not None)
    if not known:
        return None
    return {
        "median": statistics.median(known),
        "p95": known[-(-95 * len(known) // 100) - 1],  # nearest rank
    }


def parts(samples: list[Sample]) -> dict[str, float] | None:
    """Return the median seconds of each part that Leyden's summaries name; None without any."""
    bills = [sample.bill for sample in samples if sample.bill is not None]
    if not bills:
        return None
    seconds_of = {
        "queue": [bill.queue_s for bill in bills],
        "text_encode": [bill.text_encode_s for bill in bills],
        "steps": [sum(step.duration_s for step in bill.images[0].steps) for bill in bills],
        "vae_decode": [bill.images[0].vae_decode_s for bill in bills],
        "image_encode": [bill.images[0].image_encode_s for bill in bills],
        "total": [bill.total_s for bill in bills],
    }
    return {name: statistics.median(seconds) for name, seconds in seconds_of.items()}
