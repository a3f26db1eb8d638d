"""Checks that need more than a test run has, on this machine: what `make test-cluster` does.

Without arguments every part runs that this machine can run; `run.py PART --help` tells the options
of one. A table at the end says what was checked and what was seen.
"""

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), *(str(ROOT / p) for p in ("server", "client/python"))]
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from cluster.part import Part  # noqa: E402 - found by the lines above
from cluster.report import Report  # noqa: E402

PARTS: tuple[str, ...] = ("image", "monitoring", "nodes", "control-plane")
"""In the order in which they run, short ones first: each is the module `part` of the folder of that
name, with `_` for `-`."""

INTERRUPTED = 130
"""The exit code, as shells have it for a program that Ctrl-C ended."""


def part_of(name: str) -> Part:
    """Return a part by its name."""
    part = importlib.import_module(f"cluster.{name.replace('-', '_')}.part").PART
    assert isinstance(part, Part)
    return part


def parser_of(parts: dict[str, Part]) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="make test-cluster ARGS=…", description=__doc__, formatter_class=_AsWritten
    )
    commands = parser.add_subparsers(dest="part", metavar="PART", title="parts")
    for name, part in parts.items():
        part.add_options(commands.add_parser(name, help=part.summary, description=part.summary))
    return parser


class _AsWritten(argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of the docstring as they are."""


def main(arguments: list[str]) -> int:
    """Run one part or all; return the exit code."""
    parts = {name: part_of(name) for name in PARTS}
    parser = parser_of(parts)
    chosen = parser.parse_args(arguments)
    report = Report()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        for name, part in parts.items():
            if chosen.part in {None, name}:
                options = parser.parse_args([name]) if chosen.part is None else chosen
                with report.of(name):
                    part.run_reported(options, report, asked_for=chosen.part == name)
    except KeyboardInterrupt:
        print("\nInterrupted; what was started has been ended.", file=sys.stderr)
        return INTERRUPTED
    finally:
        print(f"\n{report.table()}", flush=True)
    if report.failed:
        print("\nFAILED", file=sys.stderr)
    return int(report.failed)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
