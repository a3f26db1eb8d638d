"""Arrivals of 4 and of 50 steps: what a short image waits for a long one, by step batching.

One engine in this process, without Ray, with one torch thread, at a size where rows gain. One at a
time an image of 4 steps waits for all 50 of the one before it; by step batching it joins at the
next step. Both policies get the same arrivals, in turns.
"""

import itertools
from dataclasses import asdict
from typing import Any

from benchmarks.engine_load import POLICIES, EngineUnderLoad, Loop, mixed_steps
from benchmarks.section import Figure, Section, Settings, TextTable
from leyden_client.bench import Spread, poisson_arrivals
from leyden_server.config import DEFAULT_MODEL
from leyden_server.model_repository import ModelRepository

__all__ = ["measure"]

SIZE_PX = 128
STEPS = (4, 50)
LOAD = 0.7
"""Of the one-at-a-time capacity."""
ASKED = 0.7
REQUESTS = 160
"""Of a round, which begins with an empty line: most of 60 came before one at a time had filled it,
and p95 was 0.69 to 0.78 times as long."""
COMPARED = ("one at a time", "step batching")


def measure(settings: Settings) -> Section:
    """Run both policies in turns."""
    rounds, requests = settings.pick(3, 1), settings.pick(REQUESTS, 4)
    model = ModelRepository().resolve(DEFAULT_MODEL)
    loops: dict[str, list[Loop]] = {policy: [] for policy in COMPARED}
    with EngineUnderLoad(model, width_px=SIZE_PX, height_px=SIZE_PX) as engine:
        engine.use(POLICIES["one at a time"])
        settings.say("mixed steps: one after another")
        capacity = engine.run_one_after_another(STEPS * settings.pick(4, 1))
        for number in range(rounds):
            arrivals = list(itertools.islice(poisson_arrivals(LOAD * capacity, number), requests))
            steps = mixed_steps(requests, STEPS, number)
            for policy in COMPARED if number % 2 == 0 else reversed(COMPARED):
                settings.say(f"mixed steps: round {number + 1} of {rounds}, {policy}")
                engine.use(POLICIES[policy])
                loops[policy] += engine.run(arrivals, steps)
        row_cap = engine.row_cap
    spreads = {policy: _spreads(of_policy) for policy, of_policy in loops.items()}
    theirs, ours = (spreads[policy]["all"].p95 for policy in COMPARED)
    return Section(
        conditions={
            "engine": f"{DEFAULT_MODEL}, {SIZE_PX} px, one torch thread, float32, no Ray, "
            f"cap {row_cap} rows",
            "requests": f"{STEPS[0]} or {STEPS[1]} steps, evenly drawn; Poisson at {LOAD:.0%} of "
            f"the one-at-a-time capacity of {capacity:.2f}/s; {rounds} rounds of {requests}",
        },
        figures=[
            Figure(
                name="Arrivals of 4 and 50 steps: p95 by step batching, by one at a time",
                asked=f"<= {ASKED} x",
                measured=f"{ours / theirs:.3f} x ({ours:.2f} s and {theirs:.2f} s)",
                met=ours <= ASKED * theirs,
            )
        ],
        tables=[_table(spreads)],
        data={
            "one_at_a_time_capacity_per_s": capacity,
            "row_cap": row_cap,
            "latency_s": {
                policy: {which: asdict(spread) for which, spread in of_policy.items()}
                for policy, of_policy in spreads.items()
            },
        },
    )


def _spreads(loops: list[Loop]) -> dict[str, Spread]:
    """Return the times of all images, and of those of each number of steps that came."""
    parts: dict[str, list[Loop]] = {"all": loops}
    for steps in STEPS:
        parts[str(steps)] = [loop for loop in loops if loop.num_inference_steps == steps]
    spreads = {which: Spread.of(one.latency_s for one in part) for which, part in parts.items()}
    return {which: spread for which, spread in spreads.items() if spread is not None}


def _table(spreads: dict[str, dict[str, Spread]]) -> TextTable:
    rows: list[tuple[Any, ...]] = [
        (policy, which, str(spread.count), f"{spread.p50:.2f}", f"{spread.p95:.2f}")
        for policy, of_policy in spreads.items()
        for which, spread in of_policy.items()
    ]
    return TextTable(
        title="Arrivals of 4 and 50 steps; seconds",
        columns=("policy", "steps", "images", "p50", "p95"),
        rows=tuple(rows),
    )
