"""Images of two sizes in turns: what of the time the UNet runs, and who waits for whom.

One engine in this process, without Ray, with one torch thread. A step has one size, so where two
sizes come the engine goes from one's step to the other's. In the first load all images are there
at once: from the first step to the last, whatever is not a run of the UNet is the engine's own
time. In the second they come at random; in turns with it, images of each size by themselves do.
"""

import itertools
import random
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.engine_load import POLICIES, EngineUnderLoad, Loop
from benchmarks.section import Figure, Section, Settings, TextTable
from leyden_client.bench import poisson_arrivals
from leyden_server.config import DEFAULT_MODEL
from leyden_server.model_repository import ModelRepository
from leyden_server.sizing.outcome import percentile

__all__ = ["measure"]

SIZES_PX = (256, 512)
STEPS = 4
LOAD = 0.7
"""Of the images a second of both sizes, or of the one alone, where all are there at once."""
ASKED_BUSY = 0.97


def measure(settings: Settings) -> Section:
    """Run both sizes at once, then at random beside each size alone."""
    rounds, images = settings.pick(3, 1), settings.pick(24, 4)
    model = ModelRepository().resolve(DEFAULT_MODEL)
    small, large = SIZES_PX
    with EngineUnderLoad(
        model, width_px=small, height_px=small, further_sizes_px=((large, large),)
    ) as engine:
        engine.use(POLICIES["step batching"])
        settings.say("mixed sizes: all at once")
        mixed = _drawn(images, seed=0)
        shares = [_busy(engine, mixed) for _ in range(rounds)]
        rates = {
            "both": _rate(engine, mixed),
            **{str(size): _rate(engine, [size] * images) for size in SIZES_PX},
        }
        latencies: dict[str, list[Loop]] = {name: [] for name in rates}
        for number in range(rounds):
            for name, rate in rates.items():
                settings.say(f"mixed sizes: round {number + 1} of {rounds}, {name}")
                sizes = _drawn(images, number) if name == "both" else [int(name)] * images
                arrivals = list(itertools.islice(poisson_arrivals(LOAD * rate, number), images))
                latencies[name] += engine.run(arrivals, [STEPS] * images, sizes)
    unet, step = (statistics.median(share[part] for share in shares) for part in ("unet", "step"))
    return Section(
        conditions={
            "engine": f"{DEFAULT_MODEL}, one torch thread, float32, no Ray, step batching",
            "requests": f"{' or '.join(map(str, SIZES_PX))} px, evenly drawn, {STEPS} steps",
            "loads": f"all of {images} at once; Poisson at {LOAD:.0%} of its rate, {rounds} rounds",
        },
        figures=[
            Figure(
                name="Two sizes in turns, all at once: the UNet's share of the time",
                asked=f">= {ASKED_BUSY:.0%}",
                measured=f"{unet:.1%} (with what gathers, steps and scatters {step:.1%})",
                met=unet >= ASKED_BUSY,
            )
        ],
        tables=[_table(latencies)],
        data={
            "shares_of_the_time": shares,
            "images_per_s": rates,
            "p95_s": {name: _p95(loops) for name, loops in latencies.items()},
        },
    )


def _drawn(count: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.choice(SIZES_PX) for _ in range(count)]


def _busy(engine: EngineUnderLoad, sizes: Sequence[int]) -> dict[str, float]:
    """Return in which share of the time from the first step to the last the UNet ran."""
    with engine.unet_runs() as unet_s:
        loops = engine.run([0.0] * len(sizes), [STEPS] * len(sizes), sizes)
    runs = {run for loop in loops for run in loop.runs}
    began_s = min(run.started_s for run in runs)
    took_s = max(run.started_s + run.duration_s for run in runs) - began_s
    return {
        "unet": sum(unet_s) / took_s,
        "step": sum(run.duration_s for run in runs) / took_s,
        "changes_of_size": _changes(loops),
    }


def _changes(loops: Sequence[Loop]) -> int:
    """Return how often a step has another size than the one before it."""
    size_of = {run.started_s: loop.size_px for loop in loops for run in loop.runs}
    in_order = [size for _, size in sorted(size_of.items())]
    return sum(one != other for one, other in itertools.pairwise(in_order))


def _rate(engine: EngineUnderLoad, sizes: Sequence[int]) -> float:
    loops = engine.run([0.0] * len(sizes), [STEPS] * len(sizes), sizes)
    return len(sizes) / max(loop.ended_s for loop in loops)


def _p95(loops: Sequence[Loop]) -> float:
    return percentile(sorted(loop.latency_s for loop in loops), 0.95)


def _table(latencies: dict[str, list[Loop]]) -> TextTable:
    rows = []
    for size in SIZES_PX:
        alone = latencies[str(size)]
        both = [loop for loop in latencies["both"] if loop.size_px == size]
        cells: list[Any] = [len(both), *(round(1000 * _p95(loops)) for loops in (both, alone))]
        rows.append((f"{size} px", *map(str, cells)))
    return TextTable(
        title=f"Two sizes at random, {LOAD:.0%} of what the engine does of them; ms",
        columns=("size", "images", "p95 beside the other", "p95 alone at its own 70%"),
        rows=tuple(rows),
    )
