"""From a goal to a design that meets it in the simulation, or to the reason why none does."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from leyden_server.errors import StartupError
from leyden_server.sizing.arrivals import bursts, day, evenly
from leyden_server.sizing.capacity import (
    first_design,
    most_busy,
    replicas_for,
)
from leyden_server.sizing.costs import Costs
from leyden_server.sizing.design import STAGES, Design, Replicas
from leyden_server.sizing.goal import SCENARIOS, Goal
from leyden_server.sizing.images import Kind
from leyden_server.sizing.outcome import Outcome
from leyden_server.sizing.simulation import LostNode, closed_loop, simulate

__all__ = ["GoalError", "Plan", "alone_s", "make_plan", "play"]

MOST_TRIES = 24
STEP = 0.06
"""By which share the busiest stage grows from one try to the next."""
IDLE_BUSY = 0.3
"""Where the busiest stage is less busy than that, more replicas make no image faster."""
WARM_UP = 0.1
"""Share of a scenario in which the queues fill, whose images do not count for the times."""
NODE_LOST_AT = 0.3
BRIEF_REQUESTS = 20_000
BRIEF_S = 30.0
"""So many requests, and so long, tell most designs that are too small from those that are not."""

Say = Callable[[str, float], None]
"""Is told what runs now, and which share of it is done."""


class GoalError(StartupError):
    """No design meets the goal; the message says what can be met."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A design, and what the simulation saw of it."""

    goal: Goal
    costs: Costs
    design: Design
    alone_s: float
    """What an image takes where nothing else runs; of several kinds, 95 of 100."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By the scenario."""


def make_plan(goal: Goal, costs: Costs, say: Say = lambda _what, _share: None) -> Plan:
    """Find the smallest design that meets a goal, and look at it in every scenario.

    Raises:
        GoalError: none does.

    """
    alone = alone_s(goal, costs)
    if alone > goal.p95_s:
        raise GoalError(_too_soon(goal, costs, alone))
    design, found = _search(goal, costs, say)
    outcomes = {
        name: found[name] if name in found else play(name, design, goal, costs, say)
        for name in SCENARIOS
    }
    return Plan(goal, costs, design, alone, outcomes)


def alone_s(goal: Goal, costs: Costs) -> float:
    """Return in which time 95 of 100 requests have their image where each is alone."""
    total, sum_of_shares = sum(kind.share for kind in goal.kinds), 0.0
    times = sorted((_alone_s(kind, costs), kind.share) for kind in goal.kinds)
    for took_s, share in times:
        sum_of_shares += share / total
        if sum_of_shares >= 0.95:
            return took_s
    return times[-1][0]


def play(name: str, design: Design, goal: Goal, costs: Costs, say: Say) -> Outcome:
    """Return what a scenario comes to."""
    rate, length_s = goal.rate_per_s, goal.length_s
    load, fault = evenly(rate, length_s), None
    if name == "bursts":
        every_s = min(goal.burst_every_s, length_s)
        load = bursts(rate, goal.burst_factor, length_s, every_s=every_s, last_s=goal.burst_s)
    elif name == "day":
        length_s = goal.day_s
        load = day(rate, goal.night, length_s)
        design = _for_the_day(design, goal, costs)
    elif name == "node":
        fault = LostNode(NODE_LOST_AT * length_s, goal.unnoticed_s, goal.away_s)
    if name in {"steady", "node"}:
        fixed = {stage: Replicas(r.at_rest, r.at_rest) for stage, r in design.replicas.items()}
        design = replace(design, replicas=fixed)
    return simulate(
        design,
        costs,
        goal.kinds,
        load,
        name=name,
        seed=goal.seed,
        warm_up_s=WARM_UP * length_s,
        fault=fault,
        progress=lambda share: say(name, share),
    )


def _search(goal: Goal, costs: Costs, say: Say) -> tuple[Design, dict[str, Outcome]]:
    """Return the smallest design that meets the goal where it is to, and what was seen of it.

    One scenario after another: a design that met one meets it with more replicas too.
    """
    design, found = first_design(goal, costs), {}
    best_s = math.inf
    to_meet = [(name, tried) for name in goal.meet for tried in _lengths(name, goal)]
    for name, tried in to_meet:
        for _ in range(MOST_TRIES):
            outcome = found[name] = play(name, design, tried, costs, say)
            if outcome.meets(goal.p95_s):
                break
            if outcome.lost == 0:
                best_s = min(best_s, outcome.latency_s(0.95))
            if outcome.busy["cards"] < IDLE_BUSY:
                raise GoalError(_not_met(goal, name, best_s, design))
            stage = most_busy(outcome.busy, together=design.together)
            design, found = design.with_more(stage, STEP), {}
        else:
            raise GoalError(_not_met(goal, name, best_s, design))
    return design, found


def _lengths(name: str, goal: Goal) -> Iterator[Goal]:
    """Yield the goal, and before it one of a shorter run where that is enough to try designs."""
    brief_s = max(BRIEF_S, BRIEF_REQUESTS / goal.rate_per_s)
    # What the others show takes its time: a start, a burst, a loss.
    if name == "steady" and brief_s < goal.length_s / 2:
        yield replace(goal, length_s=brief_s)
    yield goal


def _for_the_day(design: Design, goal: Goal, costs: Costs) -> Design:
    """Return it with the replicas that the night needs at rest, and by day those of the plan."""
    night = replicas_for(goal, costs, goal.rate_per_s * goal.night)
    return replace(
        design,
        replicas={
            stage: Replicas(min(night[stage], r.at_rest), r.most)
            for stage, r in design.replicas.items()
        },
    )


def _alone_s(kind: Kind, costs: Costs) -> float:
    one = Design({stage: Replicas(1, 1) for stage in STAGES}, gateways=1)
    return closed_loop(one, costs, kind, clients=1, requests=1, seed=0).latency_s(1.0)


def _too_soon(goal: Goal, costs: Costs, alone: float) -> str:
    can = [f"--p95 {alone * 2:.2g}s"]
    if len(goal.kinds) == 1:
        kind = goal.kinds[0]
        for what, other in (
            *((f"--steps {n}", replace(kind, steps=n)) for n in (8, 4, 2, 1) if n < kind.steps),
            *(
                (f"--size {side}", replace(kind, size_px=side))
                for side in reversed(costs.sizes_px)
                if side < kind.size_px
            ),
        ):
            took_s = _alone_s(other, costs)
            if took_s <= goal.p95_s:
                can.append(f"{what} ({took_s:.3g} s alone)")
    return (
        f"--p95 {goal.p95_s:g}s cannot be met: on {costs.gpu} an image takes {alone:.3g} s even "
        f"where nothing else runs, whatever the number of GPUs. What can: {', or '.join(can)}"
    )


def _not_met(goal: Goal, scenario: str, best_s: float, design: Design) -> str:
    text = (
        f"--p95 {goal.p95_s:g}s was not met in the scenario {scenario!r} by any design up to "
        f"{design.gpus()} GPUs"
    )
    if math.isinf(best_s):
        return f"{text}: each lost requests there. What can: --meet without {scenario}"
    return f"{text}. What can: --p95 {math.ceil(best_s * 100) / 100:g}s"
