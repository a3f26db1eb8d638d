"""The simulation against what real servers and the real engine were measured to do.

The stages' own times went into the simulation, and of the server the 36 ms that an image which is
alone spends between its stages; everything else here is what came out of it.
"""

import itertools
import json
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.sizing import SIZE_PX, engine_alone, fixed

from leyden_client.bench import poisson_arrivals
from leyden_server.sizing.costs import costs_of
from leyden_server.sizing.images import Kind
from leyden_server.sizing.outcome import percentile
from leyden_server.sizing.simulation import closed_loop, replay

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SERVERS = {
    "h100": "gpu-h100-server-2026-11-26.json",
    "h200": "gpu-h200-server-2026-11-28.json",
}
ENGINE = "2026-11-26.json"
"""Whose machine did nothing else."""


def mixed_steps(count: int, seed: int) -> list[int]:
    """Return what the benchmark of the same name draws, which needs torch."""
    draw = random.Random(seed)
    return [draw.choice((4, 8)) for _ in range(count)]


def results(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("gpu", SERVERS)
@pytest.mark.parametrize("clients", [1, 8])
def test_a_server_on_one_card_does_what_the_simulation_says(gpu: str, clients: int) -> None:
    measured = next(run for run in results(SERVERS[gpu])["leyden"] if run["clients"] == clients)
    design = fixed(together=True)
    outcome = closed_loop(
        design,
        costs_of(gpu),
        Kind(steps=4, size_px=1024),
        clients=clients,
        requests=measured["requests"],
        seed=0,
    )
    rate = outcome.done / outcome.length_s
    assert rate == pytest.approx(measured["images_per_s"], rel=0.04)
    assert outcome.latency_s(0.5) == pytest.approx(measured["latency_s"]["median"], rel=0.05)
    assert outcome.latency_s(0.95) == pytest.approx(measured["latency_s"]["p95"], rel=0.10)


@pytest.mark.parametrize("model", ["a model that gains", "a model that does not"])
def test_the_engine_under_the_same_arrivals_takes_what_the_simulation_says(model: str) -> None:
    """`benchmarks/figures/mixed.py`'s requests, one by one, by its engine's measured steps.

    How much longer a step is in the running engine than in the loop that times rows comes from
    what the engine did one image at a time.
    """
    contest = results(ENGINE)["sections"]["mixed"]["data"][model]
    measured = contest["policies"]["step batching"]["latency_s"]
    alone = 1 / contest["one_at_a_time_capacity_per_s"] / statistics.fmean((4, 8))
    slower = alone / contest["unet_s_by_rows"]["1"]
    costs = engine_alone({n: slower * s for n, s in contest["unet_s_by_rows"].items()})
    design = replace(fixed(), max_batch={"denoiser": contest["row_cap"]})
    latencies: list[float] = []
    for number in range(3):
        arrivals = itertools.islice(poisson_arrivals(contest["rate_per_s"], number), 110)
        kinds = [Kind(steps, SIZE_PX) for steps in mixed_steps(110, number)]
        latencies += replay(design, costs, zip(arrivals, kinds, strict=True), seed=0).latencies_s
    latencies.sort()
    assert len(latencies) == measured["count"]
    assert statistics.fmean(latencies) == pytest.approx(measured["mean"], rel=0.15)
    assert percentile(latencies, 0.5) == pytest.approx(measured["p50"], rel=0.15)
    assert percentile(latencies, 0.95) == pytest.approx(measured["p95"], rel=0.15)
