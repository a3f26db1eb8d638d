"""What `leyden plan` takes. Light: `leyden --help` imports it."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_command"]

EPILOG = """\
examples:
  leyden plan --rate 20/s --gpu h100 --p95 2s
  leyden plan --rate 1200/min --gpu h200 --p95 800ms --size 512 --together
  leyden plan --rate 20/s --gpu h100 --p95 3s --meet bursts,node --values > sized.yaml
  leyden plan --rate 5/s --gpu h100 --p95 9s --steps 4 --mix share=3 --mix steps=30,guidance=5

Times of the stages are measured ones (docs/sizing.md says on which machines); a GPU on which
nothing was measured is refused, or takes --costs FILE. The same --seed gives the same answer.

A core simulates some 4,000 requests a second: 20/s takes 10 seconds, 680/s (80 GPUs and their
bursts) some six minutes. --length and --day-length shorten that.
"""

RATE_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}
TIME_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
SCENARIOS = ("steady", "bursts", "day", "node")
MIX_KEYS = ("steps", "size", "guidance", "share")


def add_command(subparsers: "Subparsers") -> None:
    """Add `plan`."""
    plan = subparsers.add_parser(
        "plan",
        help="say how many replicas and GPUs a load needs",
        description="Say how many replicas, GPUs and how much memory a load needs, from measured "
        "times of each stage, and what a simulation sees of that: steady, in bursts, over a day, "
        "and when a node is lost. Nothing is started and no GPU is needed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument(
        "--rate",
        type=rate,
        required=True,
        metavar="N/s",
        help="requests of one image: 20/s, 1200/min",
    )
    plan.add_argument(
        "--p95",
        type=duration,
        required=True,
        metavar="TIME",
        help="in which 95 of 100 requests are to have their image: 2s, 800ms",
    )
    gpu = plan.add_mutually_exclusive_group(required=True)
    gpu.add_argument("--gpu", metavar="NAME", help="a GPU that was measured, such as h100")
    gpu.add_argument(
        "--costs", type=Path, metavar="FILE", help="times of another one (docs/sizing.md)"
    )
    requests = plan.add_argument_group("requests")
    requests.add_argument("--steps", type=steps, default=4, help="(default: %(default)s)")
    requests.add_argument(
        "--size", type=size, default=1024, metavar="PX", help="side in pixels (default: 1024)"
    )
    requests.add_argument(
        "--guidance",
        type=guidance,
        default=0.0,
        metavar="SCALE",
        help="above 1 each step takes two UNet rows (default: 0)",
    )
    requests.add_argument(
        "--mix",
        action="append",
        type=mixed,
        metavar="KEY=VALUE,...",
        help="one kind of several: steps, size, guidance and share, each as above where it is not "
        "said, and share 1; may be given several times",
    )
    cluster = plan.add_argument_group("cluster")
    cluster.add_argument(
        "--together",
        action="store_true",
        help="a replica of each stage on each GPU (default: GPUs of their own for the denoisers)",
    )
    cluster.add_argument(
        "--gpus-per-node", type=positive, default=1, metavar="N", help="(default: %(default)s)"
    )
    cluster.add_argument(
        "--replica-start",
        type=duration,
        metavar="TIME",
        help="until a new replica serves, and where nodes are made on demand until its node is "
        "there (default: as measured, on a node that is)",
    )
    seen = plan.add_argument_group("simulation")
    seen.add_argument(
        "--meet",
        type=scenarios,
        default=("steady",),
        metavar="NAME[,NAME...]",
        help=f"scenarios in which --p95 is to hold: {', '.join(SCENARIOS)} (default: steady)",
    )
    seen.add_argument(
        "--length",
        type=duration,
        default=300.0,
        metavar="TIME",
        help="of each of the others (default: 5min)",
    )
    seen.add_argument(
        "--burst", type=burst, default=2.0, metavar="FACTOR", help="of the rate (default: 2)"
    )
    seen.add_argument(
        "--burst-length", type=duration, default=30.0, metavar="TIME", help="(default: 30s)"
    )
    seen.add_argument(
        "--night", type=share, default=0.2, help="share of the rate at night (default: 0.2)"
    )
    seen.add_argument(
        "--day-length",
        type=duration,
        default=1200.0,
        metavar="TIME",
        help="of the day, in little (default: 20min)",
    )
    seen.add_argument(
        "--node-unnoticed",
        type=duration,
        default=15.0,
        metavar="TIME",
        help="for how long calls go to a node that is lost (default: 15s)",
    )
    seen.add_argument(
        "--node-away", type=duration, default=120.0, metavar="TIME", help="(default: 120s)"
    )
    seen.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    output = plan.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument(
        "--values", action="store_true", help="print values for the Helm chart, as YAML"
    )
    plan.set_defaults(run=_plan)


def rate(text: str) -> float:
    """Parse `20/s`, `1200/min` or `5000/h` to requests a second."""
    return _positive(
        text, re.fullmatch(r"([0-9.]+)/([a-z]+)", text), RATE_UNITS, "20/s, 1200/min", 1
    )


def duration(text: str) -> float:
    """Parse `2s`, `800ms`, `5min` to seconds."""
    return _positive(text, re.fullmatch(r"([0-9.]+)([a-z]+)", text), TIME_UNITS, "2s, 800ms", 0)


def _positive(
    text: str, match: "re.Match[str] | None", units: dict[str, float], such: str, per: int
) -> float:
    wrong = argparse.ArgumentTypeError(
        f"{text!r} is not such as {such}: a number above 0 and a unit of {', '.join(units)}"
    )
    if match is None or match[2] not in units:
        raise wrong
    try:
        value = float(match[1])
    except ValueError:
        raise wrong from None
    if not (value > 0 and math.isfinite(value)):
        raise wrong
    return value / units[match[2]] if per else value * units[match[2]]


def _between(low: float, high: float, of: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = of(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            kind = "a whole number" if of is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind} from {low:g} to {high:g}")
        return value

    return parse


steps = _between(1, 100, int)
size = _between(64, 4096, int)
guidance = _between(0, 100, float)
share = _between(0, 1, float)
burst = _between(1, 100, float)
positive = _between(1, 1024, int)
KINDS = {"steps": steps, "size": size, "guidance": guidance, "share": _between(1e-6, 1e6, float)}


def scenarios(text: str) -> tuple[str, ...]:
    """Parse names of scenarios."""
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}"
        )
    # The search goes by what the steady one says of who is busy.
    return tuple(name for name in SCENARIOS if name == "steady" or name in names)


def mixed(text: str) -> dict[str, float]:
    """Parse `steps=30,guidance=5,share=0.2`."""
    found: dict[str, float] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key not in MIX_KEYS or not equals:
            raise argparse.ArgumentTypeError(
                f"{part!r} is not KEY=VALUE with a KEY of {', '.join(MIX_KEYS)}"
            )
        try:
            found[key] = KINDS[key](value)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{key}: {error}") from None
    return found


def _plan(args: argparse.Namespace) -> int:
    from leyden_cli.server.plan import plan

    return plan(args)
