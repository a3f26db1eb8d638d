"""A plan for people, as tables, and for programs, as JSON."""

import dataclasses
from typing import Any

from rich.console import Console
from rich.table import Table

from leyden_server.sizing.design import STAGES
from leyden_server.sizing.goal import SCENARIOS
from leyden_server.sizing.limits import limits_of
from leyden_server.sizing.outcome import Outcome
from leyden_server.sizing.plan import Plan
from leyden_server.sizing.values import SHARES, values_of

__all__ = ["as_json", "print_plan"]

WIDTH = 100


def print_plan(plan: Plan) -> None:
    """Print what is needed, what was seen, and what comes first."""
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    goal, costs, design = plan.goal, plan.costs, plan.design
    console.print(f"{goal.rate_per_s:g} requests/s on {costs.gpu}, p95 within {goal.p95_s:g} s")
    console.print(f"{costs.model}; {', '.join(map(_words, goal.kinds))}")
    console.print(f"measured: {costs.measured}")
    console.print(
        f"alone an image takes {plan.alone_s:.3g} s\n\nneeded: "
        f"{design.gpus()} GPUs ({design.gpus(most=True)} at the most, in bursts), "
        f"{design.gateways} Gateway{'s' * (design.gateways > 1)}"
    )
    console.print(_stages(plan))
    console.print(_scenarios(plan))
    console.print("no more to give, by its cost alone, with the replicas at rest:")
    for limit in limits_of(plan):
        more = "" if limit.grows else "; it is one process"
        console.print(f"  {limit.part:<14} at {limit.rate_per_s:7.1f}/s{more}")
    missed = [name for name, one in plan.outcomes.items() if not one.meets(goal.p95_s)]
    if missed:
        console.print(
            f"\nnot met in: {', '.join(missed)}. --meet {','.join(missed)} plans for that too."
        )


def as_json(plan: Plan) -> dict[str, Any]:
    """Return all of it for `json.dumps`."""
    goal, design = plan.goal, plan.design
    return {
        "goal": {**dataclasses.asdict(goal)},
        "gpu": plan.costs.gpu,
        "measured": plan.costs.measured,
        "alone_s": plan.alone_s,
        "gpus": design.gpus(),
        "most_gpus": design.gpus(most=True),
        "gateways": design.gateways,
        "stages": {
            stage: {
                "min_replicas": design.replicas[stage].at_rest,
                "max_replicas": design.replicas[stage].most,
                "num_gpus": SHARES[design.together][stage],
                **_memory(plan, stage),
            }
            for stage in STAGES
        },
        "scenarios": {name: _outcome(one, goal.p95_s) for name, one in plan.outcomes.items()},
        "limits": [dataclasses.asdict(limit) for limit in limits_of(plan)],
        "values": values_of(plan),
    }


def _outcome(one: Outcome, p95_s: float) -> dict[str, Any]:
    return {
        "met": one.meets(p95_s),
        "requests": one.offered,
        "images": one.done,
        "without": {end: count for end, count in one.ends.items() if end},
        "retried": one.retried,
        "p50_s": one.latency_s(0.5),
        "p95_s": one.latency_s(0.95),
        "p99_s": one.latency_s(0.99),
        "busy": one.busy,
        "most_replicas": {
            stage: max(sample.running[stage] for sample in one.samples) for stage in STAGES
        },
        "replica_seconds": {
            stage: sum(sample.running[stage] for sample in one.samples) for stage in STAGES
        },
    }


def _memory(plan: Plan, stage: str) -> dict[str, float]:
    costs, rows = plan.costs, plan.design.max_batch[stage]
    sizes = {kind.size_px for kind in plan.goal.kinds}
    if stage == "text_encoder":
        gpu = costs.text_encoder.memory_up_to(rows)
    elif stage == "denoiser":
        steps = [costs.denoiser[size] for size in sizes]
        gpu = max(step.memory_up_to(step.row_times(rows).cap) for step in steps)
    else:
        decodes = [costs.vae[size] for size in sizes]
        gpu = max(decode.memory_up_to(decode.good_rows(rows)) for decode in decodes)
    host = costs.host_memory_gib.get(stage)
    return {"gpu_memory_gib": gpu, **({} if host is None else {"host_memory_gib": host})}


def _stages(plan: Plan) -> Table:
    table = Table(
        "stage", "replicas", "at the most", "GPU each", "GPU memory", "host memory", box=None
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in STAGES:
        replicas, memory = plan.design.replicas[stage], _memory(plan, stage)
        host = memory.get("host_memory_gib")
        table.add_row(
            stage,
            str(replicas.at_rest),
            str(replicas.most),
            f"{SHARES[plan.design.together][stage]:g}",
            f"{memory['gpu_memory_gib']:.1f} GiB",
            "not measured" if host is None else f"{host:.1f} GiB",
        )
    return table


def _scenarios(plan: Plan) -> Table:
    table = Table(
        "simulated", "met", "requests", "p50", "p95", "p99", "without", "run again",
        "busy: unet", "vae", "gateway", box=None,
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    for name in SCENARIOS:
        one = plan.outcomes[name]
        table.add_row(
            name,
            "yes" if one.meets(plan.goal.p95_s) else "NO",
            str(one.offered),
            *(f"{one.latency_s(share):.2f} s" for share in (0.5, 0.95, 0.99)),
            str(one.lost),
            str(one.retried),
            *(f"{one.busy[part]:.0%}" for part in ("denoiser", "vae", "gateway")),
        )
    return table


def _words(kind: Any) -> str:
    guided = ", guided" if kind.guided else ""
    return f"{kind.steps} steps at {kind.size_px} px{guided}"
