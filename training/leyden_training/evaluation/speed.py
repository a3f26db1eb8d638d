"""Wall time of one picture, system against system in one process.

Rounds are interleaved: each round times every system once, so that whatever else the machine
does falls on all of them, and a ratio is taken within a round.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from leyden_training.evaluation.pictures import Sampling
from leyden_training.evaluation.prompts import Prompt
from leyden_training.evaluation.systems import System

__all__ = ["Speed", "measure_speed"]


@dataclass(frozen=True)
class Speed:
    """Seconds for one picture from prompt to pixels, batch 1."""

    name: str
    unet_calls: int
    """Rows that the UNet computes."""

    seconds: tuple[float, ...]
    """Of each round."""

    times_faster: tuple[float, ...]
    """Than the first system, round by round."""

    def as_json(self) -> dict[str, object]:
        """Medians, and the least and the most of all rounds."""
        return {
            "system": self.name,
            "unet_calls": self.unet_calls,
            "rounds": len(self.seconds),
            "seconds": _spread(self.seconds),
            "times_faster": _spread(self.times_faster),
        }


def measure_speed(
    systems: Sequence[System],
    prompts: Sequence[Prompt],
    rounds: int,
    report: Callable[[int], None],
) -> tuple[Speed, ...]:
    """Time every system once in each round, after one picture of each that is not counted.

    Args:
        systems: the first is what the others are compared with.
        prompts: round r uses prompt r, from the first again after the last.
        rounds: of timing.
        report: called with the number of rounds that are done.

    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        painters = [Sampling(system).open(device) for system in systems]
        for paint in painters:
            paint(0, prompts[:1])
        seconds: list[list[float]] = [[] for _ in systems]
        for number in range(rounds):
            index = number % len(prompts)
            for times, paint in zip(seconds, painters, strict=True):
                started = time.perf_counter()
                paint(index, prompts[index : index + 1])  # returns pixels, so a GPU has ended
                times.append(time.perf_counter() - started)
            report(number + 1)
    finally:
        torch.set_num_threads(threads)
    base = seconds[0]
    return tuple(
        Speed(
            name=system.name,
            unet_calls=system.unet_calls,
            seconds=tuple(times),
            times_faster=tuple(b / t for b, t in zip(base, times, strict=True)),
        )
        for system, times in zip(systems, seconds, strict=True)
    )


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"estimate": median(values), "low": min(values), "high": max(values)}
