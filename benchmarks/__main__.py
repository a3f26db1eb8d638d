"""Runs the measurements and prints one table: `make bench`, or `python -m benchmarks`."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from benchmarks.conditions import IDLE_LOAD, REPOSITORY, conditions
from benchmarks.report import print_sections, to_json
from benchmarks.section import Figure, Section, Settings

SECTIONS = {
    "start": "start to ready, memory, first event, first progress",
    "overhead": "one client against the in-process pipeline",
    "efficiency": "eight clients against the in-process pipeline's best batch",
    "mixed": "mixed arrivals under three batching policies",
    "mixed_sizes": "two sizes in turns: the UNet's share of the time, p95 by size",
    "mixed_steps": "arrivals of 4 and 50 steps, by step batching and one at a time",
    "split": "leyden serve against leyden serve --in-process",
    "between": "an image's time in the split server over one process, and where it goes",
    "loading": "a full-size file with two LoRAs: start, memory, bytes read, by diffusers",
    "triton": "pytriton on the same weights, by one client of Triton's protocol",
    "peers": "peers on the same weights (benchmarks/peers)",
    "clients": "the clients of all languages, before a server that computes nothing",
    "house_client": "one client over diffusers, request by request in turns",
    "house_shapes": "--in-process against split: memory, rate of 16 clients",
    "house_events": "events a second of one Gateway before stages that compute nothing",
    "house_start": "start to ready, in turns with another commit (--before)",
    "house_gateways": "what a request costs more with two Gateways than with one",
    "operating_protocols": "a call by KServe's protocol, dearer than the native one",
    "operating_telemetry": "the rate with metrics and traces on, by that without",
    "operating_refusals": "how long a refusal takes",
    "operating_keys": "a call where there are 10,000 API keys, by one where there are ten",
    "plan_gateway": "CPU time of a Gateway for a request and a step, before stages over Ray",
    "plan_agreement": "`leyden plan`'s simulation against the real engine, under the same requests",
}

GROUPS = {
    group: [name for name in SECTIONS if name.startswith(f"{group}_")]
    for group in ("house", "operating", "plan")
}
"""Sections that are not run unless they are asked for, all of a group by its name."""

MAIN = [name for name in SECTIONS if not any(name in group for group in GROUPS.values())]
PAIRS, QUICK_PAIRS = 200, 2

EPILOG = "\n".join(
    [
        "sections:",
        *(f"  {name:<15} {about}" for name, about in SECTIONS.items()),
        "house, operating and plan stand for all sections that begin so, which are not run "
        "unless they are asked for.",
    ]
)


def main() -> int:
    """Measure; 0 where every section ran, whatever its figures, 1 where one did not."""
    arguments = _arguments()
    started_s = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started_s:6.1f} s] {what}", file=sys.stderr, flush=True)

    pairs = arguments.pairs or (QUICK_PAIRS if arguments.quick else PAIRS)
    settings = Settings(quick=arguments.quick, say=say, pairs=pairs, before=arguments.before)
    measured: dict[str, Section] = {}
    # Either ends it as Ctrl-C does, in the background too: what was started is stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    conditions_before = conditions()
    if conditions_before["load_average_before"] > IDLE_LOAD:
        say(
            f"the machine is not idle (load average {conditions_before['load_average_before']}): "
            "the figures will be worse than they should"
        )
    failed = interrupted = False
    for name in arguments.only:
        try:
            measured[name] = _measurement(name)(settings)
        except KeyboardInterrupt:
            interrupted = True
            break
        except Exception as error:  # noqa: BLE001 - the other sections still count
            failed = True
            say(f"{name} failed: {type(error).__name__}: {error}")
            measured[name] = _failure(name, error)
    print_sections(conditions_before, measured, quick=arguments.quick)
    if interrupted:
        print("interrupted: no JSON is written", file=sys.stderr)
        return 130
    file = arguments.json or _default_file(arguments)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = to_json(conditions_before, measured, quick=arguments.quick)
        file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        say(f"written to {file}")
    return 1 if failed else 0


def _measurement(name: str) -> Callable[[Settings], Section]:
    # Only what is asked for is imported: torch and diffusers take seconds.
    measure: Callable[[Settings], Section] = import_module(f"benchmarks.figures.{name}").measure
    return measure


def _failure(name: str, error: Exception) -> Section:
    figure = Figure(name=SECTIONS[name], asked="", measured=f"not measured: {error}")
    return Section(conditions={}, figures=[figure], data={"error": repr(error)})


def _default_file(arguments: argparse.Namespace) -> Path | None:
    """Return where results are kept; None where this run is not worth keeping."""
    suffixes = {"": MAIN, **{f"-{name}": group for name, group in GROUPS.items()}}
    suffix = next((name for name, group in suffixes.items() if arguments.only == group), None)
    if arguments.quick or suffix is None:
        return None
    return REPOSITORY / "benchmarks" / "results" / f"{time.strftime('%Y-%m-%d')}{suffix}.json"


def _arguments() -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Leyden on this machine, with nothing else running, and print one "
        "table. benchmarks/README.md says what each figure means.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        metavar="NAME[,NAME...]",
        type=_names,
        default=MAIN,
        help="the sections to run (default: all but house, operating and plan)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a tiny pass that shows that everything runs; its figures mean nothing",
    )
    parser.add_argument(
        "--before",
        metavar="DIR",
        type=_checkout,
        help="a checkout of another commit, for the sections of house: its server is measured in "
        "turns with this one's, by the packages of this Python",
    )
    parser.add_argument(
        "--pairs",
        metavar="N",
        type=_positive,
        help=f"rounds of what house compares in turns (default: {PAIRS})",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="file for the figures and all else that was measured (default, without --only and "
        "--quick: benchmarks/results/DATE.json; with --only house: …/DATE-house.json, and so on)",
    )
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = GROUPS.get(text) or text.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}, and "
            "house, operating and plan for all of their own"
        )
    return names


def _checkout(text: str) -> Path:
    folder = Path(text).resolve()
    if not (folder / "server" / "leyden_server").is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no checkout: it has no server/leyden_server")
    return folder


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"1 or more; got {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
