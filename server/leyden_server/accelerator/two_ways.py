"""Which of two ways to the same tensors a card is faster at: measured on it, once for a shape."""

import logging
from collections.abc import Callable

import torch

__all__ = ["is_faster"]

logger = logging.getLogger(__name__)

TIMES = 8
AHEAD = 16
"""Runs that the card still has to do when a timed one is asked for: it waits for no launch then, as
nothing does that a graph replays."""
MARGIN = 0.97
"""Of the usual way's time: less of a gain is none."""
TOLERANCE = 0.02
"""Relative, over all numbers: bfloat16 rounds a number to within 0.004, and a way a few times."""

Way = Callable[[], torch.Tensor]


def is_faster(what: str, ours: Way, usual: Way) -> bool:
    """Whether `ours` takes less time on a GPU than `usual` and gives the same; `what` for the log.

    Neither may run while a graph is captured: its first runs come before. The first result of each
    is compared, so a way may change what it reads.
    """
    with torch.inference_mode():
        expected = usual()
        error = float((ours() - expected).norm() / expected.norm())
        times = [(_ms(ours, usual), _ms(usual, usual)) for _ in range(TIMES)]
    # The least: whatever else runs on the card only adds to a time.
    our_ms, usual_ms = (min(found) for found in zip(*times, strict=True))
    chosen = our_ms < MARGIN * usual_ms and error < TOLERANCE
    logger.info(
        "%s: %.3f ms, %.3f without; they differ by %.4f, so %s",
        what,
        our_ms,
        usual_ms,
        error,
        "it is chosen" if chosen else "it is not",
    )
    return chosen


def _ms(way: Way, before: Way) -> float:
    start, end = _timing_event(), _timing_event()
    for _ in range(AHEAD):
        before()
    start.record()
    way()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def _timing_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch's own
