"""`leyden plan`: from a rate and a time to replicas, and what a simulation sees of them."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import yaml

from leyden_cli.server.plan_report import as_json, print_plan
from leyden_server.errors import ConfigError, StartupError
from leyden_server.sizing.costs import Costs, costs_of, read_costs
from leyden_server.sizing.goal import Goal
from leyden_server.sizing.images import Kind
from leyden_server.sizing.plan import make_plan
from leyden_server.sizing.values import values_of

__all__ = ["plan"]

GUIDED_ABOVE = 1.0


def plan(args: argparse.Namespace) -> int:
    """Print a plan; return 1 where there is none."""
    try:
        costs = costs_of(args.gpu.lower()) if args.costs is None else read_costs(args.costs)
        if args.replica_start is not None:
            costs = costs.model_copy(update={"start_s": args.replica_start})
        goal = _goal(args, costs)
        found = make_plan(goal, costs, _progress())
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        _clear()
    if args.json:
        print(json.dumps(as_json(found)))
    elif args.values:
        print(_comment(args), end="")
        print(yaml.safe_dump(values_of(found), sort_keys=False), end="")
    else:
        print_plan(found)
    return 0


def _goal(args: argparse.Namespace, costs: Costs) -> Goal:
    one = {"steps": args.steps, "size": args.size, "guidance": args.guidance, "share": 1.0}
    kinds = tuple(_kind({**one, **mixed}, costs) for mixed in args.mix or [{}])
    return Goal(
        rate_per_s=args.rate,
        p95_s=args.p95,
        kinds=kinds,
        meet=args.meet,
        together=args.together,
        gpus_per_node=args.gpus_per_node,
        length_s=args.length,
        burst_factor=args.burst,
        burst_s=args.burst_length,
        night=args.night,
        day_s=args.day_length,
        unnoticed_s=args.node_unnoticed,
        away_s=args.node_away,
        seed=args.seed,
    )


def _kind(of: dict[str, Any], costs: Costs) -> Kind:
    if of["size"] not in costs.sizes_px:
        sizes = ", ".join(map(str, costs.sizes_px))
        raise ConfigError(
            f"--size: {of['size']} px was not measured on {costs.gpu}; measured were {sizes}"
        )
    return Kind(of["steps"], of["size"], of["guidance"] > GUIDED_ABOVE, of["share"])


def _comment(args: argparse.Namespace) -> str:
    words = " ".join(sys.argv[1:]) if sys.argv[1:2] == ["plan"] else "plan"
    del args
    return f"# leyden {words}\n"


def _progress() -> Callable[[str, float], None]:
    """Return what tells a terminal what runs, how far it is and how long it will still take."""
    running, started_s, told = "", 0.0, -1

    def say(what: str, share: float) -> None:
        nonlocal running, started_s, told
        if not sys.stderr.isatty():
            return
        if what != running or int(100 * share) < told:
            running, started_s, told = what, time.monotonic(), -1
        if int(100 * share) == told:
            return
        told = int(100 * share)
        gone_s = time.monotonic() - started_s
        left = ""
        if share > 0.1 and gone_s > 1:
            left = f", {gone_s * (1 - share) / share:.0f} s left of it"
        text = f"\r\x1b[Ksimulating {what}: {told:3d}%{left}"
        print(text, end="", file=sys.stderr, flush=True)

    return say


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
