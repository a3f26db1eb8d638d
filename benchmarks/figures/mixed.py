"""Mixed arrivals: step batching against one at a time and whole-request batching.

One engine in this process, without Ray, with one torch thread. Requests of 4 and 8 steps
arrive at random (a Poisson process) at 70% of what the engine does one at a time. The three
policies get the same arrivals, in turns, so that a drift of the machine meets all alike.
"""

import itertools
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.engine_load import (
    POLICIES,
    EngineUnderLoad,
    Loop,
    mixed_steps,
    unet_seconds_by_rows,
)
from benchmarks.random_model import RandomShape, write_random_model
from benchmarks.section import Figure, Section, Settings, TextTable
from leyden_client.bench import Spread, poisson_arrivals
from leyden_server.config import DEFAULT_MODEL
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["measure"]

STEPS = (4, 8)
LOAD = 0.7
"""Of the one-at-a-time capacity."""
PAYING_GAIN = 1.2
NO_GAIN = 1.05
FLAT_SAMPLE_SIZES = (64, 80, 96)
"""Latents' sides of the model that is to gain nothing, tried in this order."""
LONGEST_STEP_S = 0.04
"""So that a policy has over 300 requests in about a minute."""
TOLERANCE = 0.03
"""What two runs of one policy may differ by: within it neither has lost."""

FLAT = RandomShape(
    # Few, wide operators: one row keeps the core as busy as eight do.
    sample_size=FLAT_SAMPLE_SIZES[0],
    block_out_channels=(16, 32),
    layers_per_block=1,
    text_widths=(64, 96),
    text_layers=2,
    vae_block_out_channels=(8, 16, 16, 16),
)


def measure(settings: Settings) -> Section:
    """Run both models under the three policies."""
    rounds = settings.pick(3, 1)
    requests = settings.pick(110, 4)
    figures: list[Figure] = []
    tables: list[TextTable] = []
    data: dict[str, Any] = {}
    embedded = ModelRepository().resolve(DEFAULT_MODEL)
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as folder:
        settings.say("mixed arrivals: measuring what rows are worth")
        contests = {
            "a model that gains": _paying_size(embedded),
            "a model that does not": _flat_model(
                Path(folder), (16,) if settings.quick else FLAT_SAMPLE_SIZES
            ),
        }
        for name, timed in contests.items():
            model, size, seconds = timed
            contest = _contest(settings, name, model, size, rounds=rounds, requests=requests)
            gain = _gain(timed)
            figure = _verdict(contest, gain, pays=model is embedded)
            figures.append(figure)
            tables.append(_table(name, model, size, gain, contest))
            data[name] = {
                "model": model.name,
                "size_px": size,
                "unet_s_by_rows": seconds,
                "gain_of_8_rows": gain,
                **contest,
            }
    return Section(
        conditions={
            "arrivals": f"Poisson at {LOAD:.0%} of the one-at-a-time capacity; "
            f"{rounds} rounds of {requests} requests for each policy, in turns",
            "requests": "4 or 8 steps, evenly drawn, one size, guidance off",
            "engine": "one process, one torch thread, float32, no Ray",
            "whole-request batching": "has the row cap that step batching has",
        },
        figures=figures,
        tables=tables,
        data=data,
    )


Timed = tuple[ResolvedModel, int, dict[int, float]]


def _timed(model: ResolvedModel, width_px: int, height_px: int) -> Timed:
    seconds = unet_seconds_by_rows(model, width_px=width_px, height_px=height_px)
    return model, width_px, seconds


def _paying_size(model: ResolvedModel) -> Timed:
    """Return the largest of native, half, … at which eight rows gain and a step is short."""
    size = min(model.width_px, model.height_px)
    while True:
        timed = _timed(model, size, size)
        if (
            _gain(timed) >= PAYING_GAIN and timed[-1][1] <= LONGEST_STEP_S
        ) or size // 2 < model.min_size_px:
            return timed
        size //= 2


def _flat_model(folder: Path, sample_sizes: Sequence[int]) -> Timed:
    """Write the random model of the fewest latents of which eight rows gain nothing.

    What is the same for any number of rows, such as calling an operator, costs less beside more
    latents; how much is the machine's. If none is flat, the flattest is returned.
    """
    tried: list[Timed] = []
    for sample_size in sample_sizes:
        name = f"flat-{sample_size}"
        written = write_random_model(folder / name, replace(FLAT, sample_size=sample_size))
        model = ModelRepository([written]).resolve(name)
        tried.append(_timed(model, model.width_px, model.height_px))
        if _gain(tried[-1]) <= NO_GAIN:
            return tried[-1]
    return min(tried, key=_gain)


def _gain(timed: Timed) -> float:
    """Rows a second of eight rows, in those of one."""
    seconds = timed[-1]
    return 8 * seconds[1] / seconds[8]


def _contest(
    settings: Settings, name: str, model: ResolvedModel, size_px: int, *, rounds: int, requests: int
) -> dict[str, Any]:
    loops: dict[str, list[Loop]] = {policy: [] for policy in POLICIES}
    with EngineUnderLoad(model, width_px=size_px, height_px=size_px) as engine:
        engine.use(POLICIES["one at a time"])
        engine.run_one_after_another(STEPS)
        capacity = engine.run_one_after_another(STEPS * settings.pick(15, 1))
        for number in range(rounds):
            arrivals = list(itertools.islice(poisson_arrivals(LOAD * capacity, number), requests))
            steps = mixed_steps(requests, STEPS, number)
            # Who comes first changes, in case that is worth something.
            turn = number % len(POLICIES)
            order = [*POLICIES][turn:] + [*POLICIES][:turn]
            for policy in order:
                settings.say(f"mixed arrivals, {name}: round {number + 1} of {rounds}, {policy}")
                engine.use(POLICIES[policy])
                loops[policy] += engine.run(arrivals, steps)
        row_cap = engine.row_cap
    return {
        "one_at_a_time_capacity_per_s": capacity,
        "rate_per_s": LOAD * capacity,
        "row_cap": row_cap,
        "policies": {policy: _summary(of_policy) for policy, of_policy in loops.items()},
    }


def _summary(loops: list[Loop]) -> dict[str, Any]:
    by_steps = {
        str(steps): Spread.of(loop.latency_s for loop in loops if loop.num_inference_steps == steps)
        for steps in STEPS
    }
    latency = Spread.of(loop.latency_s for loop in loops)
    assert latency is not None
    return {
        "latency_s": asdict(latency),
        "latency_s_by_steps": {
            steps: asdict(spread) for steps, spread in by_steps.items() if spread is not None
        },
        "mean_batch_rows": statistics.fmean(loop.mean_batch_rows for loop in loops),
    }


def _verdict(contest: dict[str, Any], gain: float, *, pays: bool) -> Figure:
    p95 = {name: policy["latency_s"]["p95"] for name, policy in contest["policies"].items()}
    ours = p95.pop("step batching")
    best = min(p95.values())
    others = ", ".join(f"{name} {1000 * value:.0f}" for name, value in p95.items())
    measured = f"gain {gain:.2f}: p95 {1000 * ours:.0f} ms; {others}"
    if pays:
        return Figure(
            name="Mixed arrivals, a model whose 8 rows gain",
            asked=f"gain >= {PAYING_GAIN}: step batching has the lowest p95",
            measured=measured,
            met=ours < best and gain >= PAYING_GAIN,
        )
    return Figure(
        name="Mixed arrivals, a model whose 8 rows do not gain",
        asked=f"gain about 1.0 (<= {NO_GAIN}): p95 within {TOLERANCE:.0%} of the best",
        measured=measured,
        met=ours <= (1 + TOLERANCE) * best and gain <= NO_GAIN,
    )


def _table(
    name: str, model: ResolvedModel, size_px: int, gain: float, contest: dict[str, Any]
) -> TextTable:
    rows = []
    for policy, summary in contest["policies"].items():
        latency = summary["latency_s"]
        cells = [latency["count"], *(round(1000 * latency[p]) for p in ("p50", "p95", "p99"))]
        short = [
            round(1000 * summary["latency_s_by_steps"].get(str(steps), latency)["p95"])
            for steps in STEPS
        ]
        cells += short
        rows.append((policy, *map(str, cells), f"{summary['mean_batch_rows']:.2f}"))
    return TextTable(
        title=f"Mixed arrivals, {name}: {model.name}, {size_px} x {size_px} px, 8 rows gain "
        f"{gain:.2f}, cap {contest['row_cap']} rows, {contest['rate_per_s']:.2f} requests/s "
        f"of {contest['one_at_a_time_capacity_per_s']:.2f} possible one at a time; ms",
        columns=("policy", "requests", "p50", "p95", "p99", "p95 4 steps", "p95 8 steps", "rows"),
        rows=tuple(rows),
    )
