"""How far the design scales, by `leyden plan`'s simulation: plots for docs/sizing.md.

    .venv/bin/python -m benchmarks.sizing [--from-json]

A fleet of ever more H100s under the same load a card, with the Gateways that the plan has and
with one alone; and what bursts, a day and a lost node look like with 10 and 100 cards. Only
arithmetic: no GPU is used, and the machine may be busy. Takes some ten minutes of a core.
"""

import argparse
import itertools
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.conditions import REPOSITORY
from leyden_server.sizing.capacity import first_design, stage_seconds
from leyden_server.sizing.costs import Costs, costs_of
from leyden_server.sizing.design import STAGES, Design
from leyden_server.sizing.goal import Goal
from leyden_server.sizing.images import Kind
from leyden_server.sizing.outcome import Outcome, percentile
from leyden_server.sizing.plan import play

GPU = "h100"
KINDS = (Kind(steps=4, size_px=1024),)
P95_S = 2.0
BUSY = 0.85
"""Share of what the cards can do, by their measured times, that is asked for."""
FLEETS = (3, 6, 10, 20, 40, 70, 100)
"""Cards, about: what the stages need of so many."""
IMAGES = 7_500
FLEET_S = 20.0
"""Images of each fleet's run, and seconds: whichever takes longer."""
MOST_OF_ONE_GATEWAY = 40
"""Cards up to which one Gateway is tried."""
SHOWN = (10, 100)
"""Cards, about."""
SCENARIO_S = 300.0
DAY_S = 700.0
SCENARIOS = ("bursts", "day", "node")
DEFAULT_TARGETS = "day, target_ongoing_requests: 4"
"""The same day by the config's default."""

WINDOW_S = 4.0
"""Of whose images the p95 is drawn over time."""

COLORS = {"denoiser": "#4477aa", "vae": "#ee6677", "rate": "#bbbbbb", "p95": "#444444"}


def goal_of(gpus: int, costs: Costs) -> Goal:
    """Return what about so many cards are to do."""
    seconds = stage_seconds(costs, KINDS)
    return Goal(rate_per_s=round(gpus * BUSY / sum(seconds.values()), 1), p95_s=P95_S, kinds=KINDS)


def sized(goal: Goal, costs: Costs) -> Design:
    """Return the arithmetic's design with cards for `BUSY`."""
    rate = goal.rate_per_s
    return replace(first_design(replace(goal, rate_per_s=rate * 0.95 / BUSY), costs))


def measure(workers: int) -> dict[str, Any]:
    """Simulate all of it, so many scenarios at a time."""
    costs = costs_of(GPU)
    with ProcessPoolExecutor(workers) as pool:
        shown = {
            f"{gpus} {name}": pool.submit(scenario, gpus, name, costs)
            for gpus in sorted(SHOWN, reverse=True)
            for name in ("steady", *SCENARIOS, DEFAULT_TARGETS)
        }
        fleets = [
            pool.submit(fleet, gpus, planned, costs)
            for gpus in reversed(FLEETS)
            for planned in ((True, False) if gpus <= MOST_OF_ONE_GATEWAY else (True,))
        ]
        return {
            "costs": costs.model_dump(),
            "busy": BUSY,
            "fleets": sorted((one.result() for one in fleets), key=lambda one: one["gpus"]),
            "scenarios": {name: one.result() for name, one in shown.items()},
        }


def fleet(gpus: int, planned: bool, costs: Costs) -> dict[str, Any]:
    """Simulate about so many cards with the Gateways that are planned, or with one."""
    goal = goal_of(gpus, costs)
    goal = replace(goal, length_s=max(FLEET_S, IMAGES / goal.rate_per_s))
    design = sized(goal, costs)
    if not planned:
        design = replace(design, gateways=1)
    outcome = run("steady", design, goal, costs)
    return {
        "gpus": design.gpus(),
        "gateways": design.gateways,
        "planned": planned,
        "asked_per_s": goal.rate_per_s,
        "images_per_s": outcome.done / outcome.length_s,
        "p95_s": outcome.latency_s(0.95),
        "lost": outcome.lost,
        "busy": outcome.busy,
    }


def scenario(gpus: int, name: str, costs: Costs) -> dict[str, Any]:
    """Simulate a scenario with about so many cards."""
    per_node = 8 if gpus >= 100 else 1
    goal = replace(goal_of(gpus, costs), length_s=SCENARIO_S, day_s=DAY_S, gpus_per_node=per_node)
    design = sized(goal, costs)
    if name == DEFAULT_TARGETS:
        design = replace(design, target_ongoing={})
    outcome = run(name.split(",", maxsplit=1)[0], design, goal, costs)
    return {
        "gpus": design.gpus(),
        "most_gpus": design.gpus(most=True),
        "gateways": design.gateways,
        "gpus_per_node": goal.gpus_per_node,
        "rate_per_s": goal.rate_per_s,
        "requests": outcome.offered,
        "ends": dict(outcome.ends),
        "retried": outcome.retried,
        "p50_s": outcome.latency_s(0.5),
        "p95_s": outcome.latency_s(0.95),
        "p99_s": outcome.latency_s(0.99),
        "busy": outcome.busy,
        "windows": windows(outcome),
        "samples": [
            {"at_s": one.at_s, "running": one.running, "arrived": one.arrived}
            for one in outcome.samples[::2]
        ],
    }


def run(name: str, design: Design, goal: Goal, costs: Costs) -> Outcome:
    """Simulate one scenario, and say so."""
    started_s = time.monotonic()
    outcome = play(name, design, goal, costs, lambda _what, _share: None)
    print(
        f"{design.gpus()} cards, {design.gateways} Gateways, {name}: {outcome.offered} requests, "
        f"{outcome.lost} without, p95 {outcome.latency_s(0.95):.2f} s "
        f"({time.monotonic() - started_s:.0f} s)",
        file=sys.stderr,
        flush=True,
    )
    return outcome


def windows(outcome: Outcome) -> list[tuple[float, float]]:
    """Return the p95 of those that came in each window."""
    found: dict[int, list[float]] = {}
    for came_s, took_s in outcome.finished:
        found.setdefault(int(came_s // WINDOW_S), []).append(took_s)
    return [
        ((number + 0.5) * WINDOW_S, percentile(sorted(times), 0.95))
        for number, times in sorted(found.items())
    ]


def plot_fleets(figures: dict[str, Any], path: Path) -> None:
    """Draw rate and time by the number of cards."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates, times = figure.subplots(1, 2)
    planned = [one for one in figures["fleets"] if one["planned"]]
    single = [one for one in figures["fleets"] if not one["planned"]]
    cards = [one["gpus"] for one in planned]
    rates.plot(cards, [one["asked_per_s"] for one in planned], ":", color="#888888", label="asked")
    for fleet, label, color in (
        (planned, "Gateways as planned", COLORS["denoiser"]),
        (single, "one Gateway", COLORS["vae"]),
    ):
        at = [one["gpus"] for one in fleet]
        rates.plot(at, [one["images_per_s"] for one in fleet], "o-", color=color, label=label)
        times.plot(at, [one["p95_s"] for one in fleet], "o-", color=color, label=label)
    for one in planned:
        rates.annotate(
            str(one["gateways"]),
            (one["gpus"], one["images_per_s"]),
            xytext=(0, -11),
            textcoords="offset points",
            fontsize=7,
            ha="center",
        )
    rates.set_ylabel("images/s (Gateways below)")
    times.set_ylabel("p95 of those with an image, s")
    times.set_ylim(bottom=0)
    for axes in (rates, times):
        axes.set_xlabel("H100s")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def plot_scenarios(figures: dict[str, Any], path: Path) -> None:
    """Draw load, replicas and time over time."""
    figure = Figure(figsize=(11, 4.4 * len(SHOWN)), layout="constrained")
    grid = figure.subplots(2 * len(SHOWN), 3, height_ratios=(2, 1.6) * len(SHOWN))
    for block, gpus in enumerate(SHOWN):
        for column, name in enumerate(SCENARIOS):
            one = figures["scenarios"][f"{gpus} {name}"]
            title = f"{name}, {one['gpus']} H100s"
            _plot_one(grid[2 * block][column], grid[2 * block + 1][column], one, title)
    grid[0][0].legend(frameon=False, fontsize=7, loc="upper left")
    for row in range(0, len(grid), 2):
        grid[row][0].set_ylabel("replicas")
        grid[row + 1][0].set_ylabel("p95, s")
    for axes in grid[-1]:
        axes.set_xlabel("seconds")
    figure.savefig(path, dpi=100)


def _plot_one(replicas: Axes, times: Axes, one: dict[str, Any], title: str) -> None:
    samples = one["samples"]
    at_s = [sample["at_s"] for sample in samples]
    load = replicas.twinx()
    steps = max(1, len(samples) // 60)
    some = samples[::steps]
    rate = [
        (later["arrived"] - sooner["arrived"]) / (later["at_s"] - sooner["at_s"])
        for sooner, later in itertools.pairwise(some)
    ]
    load.fill_between([s["at_s"] for s in some[1:]], rate, color=COLORS["rate"], alpha=0.5, lw=0)
    load.set_ylim(bottom=0)
    load.tick_params(labelsize=6)
    replicas.set_zorder(load.get_zorder() + 1)
    replicas.patch.set_visible(False)
    for stage in ("denoiser", "vae"):
        counts = [sample["running"][stage] for sample in samples]
        replicas.step(at_s, counts, where="post", color=COLORS[stage], label=stage, lw=1.4)
    replicas.plot([], [], color=COLORS["rate"], lw=5, label="requests/s (right)")
    replicas.set_ylim(bottom=0)
    replicas.set_title(title, fontsize=9)
    times.plot(*zip(*one["windows"], strict=True), color=COLORS["p95"], lw=1)
    times.axhline(P95_S, color="#cc3311", lw=0.8, ls=":")
    times.set_yscale("log")
    for axes in (replicas, times, load):
        axes.spines[["top"]].set_visible(False)
        axes.tick_params(labelsize=7)


def main() -> None:
    """Simulate, write, plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    results = REPOSITORY / "benchmarks" / "results" / "sizing.json"
    images = REPOSITORY / "docs" / "images"
    parser.add_argument("--json", type=Path, default=results, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--from-json", action="store_true", help="plot the JSON, simulate nothing")
    arguments = parser.parse_args()
    if not arguments.from_json:
        arguments.json.write_text(json.dumps(measure(arguments.workers)) + "\n", encoding="utf-8")
    figures = json.loads(arguments.json.read_text(encoding="utf-8"))
    assert set(STAGES) <= set(figures["fleets"][0]["busy"])
    plot_fleets(figures, images / "sizing-fleets.png")
    plot_scenarios(figures, images / "sizing-scenarios.png")


if __name__ == "__main__":
    main()
