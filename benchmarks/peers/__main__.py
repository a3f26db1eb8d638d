"""Measure Leyden and its peers in one run, on the same weights.

Each peer gets a venv of its own below .bench/ (about 1.3 GB and 2 minutes each, once). Every
server runs alone, with all cores; its pictures are compared with diffusers' before it counts.
Run it on an idle machine.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.peers.contestants import CACHE, CONTESTANTS, Contestant, Model
from benchmarks.peers.environments import UnavailableError, python_of, versions_in
from benchmarks.peers.measure import Run, measure, reference_pictures
from benchmarks.peers.models import EMBEDDED, SECOND, named, second
from benchmarks.peers.report import conditions, lead, summary, table

CLIENTS = (1, 4, 16)
WIDTH = 150
ALLOWED_DIFFERENCE = 1
IMAGES_AT_MOST = 100_000
"""Of one start: the numbers of prompts and seeds never meet."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; return 1 where a contestant took no part or made another picture."""
    arguments = parse_arguments(argv)
    session = _Session(arguments)
    # SIGTERM ends it as Ctrl-C does: what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        session.run()
    except KeyboardInterrupt:
        session.say("interrupted")
        return 130
    return 1 if session.problems else 0


class _Session:
    """One run of the comparison."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._started = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._first_number = 0
        self.problems: list[str] = []

    def say(self, what: str) -> None:
        """Report progress on stderr."""
        elapsed = time.monotonic() - self._started
        self._console.print(f"[{elapsed:6.1f} s] {what}", markup=False, soft_wrap=True)

    def run(self) -> None:
        """Install, measure, print, write."""
        pythons = self._install()
        versions = {name: versions_in(python) for name, python in pythons.items()}
        result: dict[str, Any] = {"conditions": conditions(versions), "models": {}, "lead": {}}
        output = Console(width=max(WIDTH, Console().width))
        for model in self._models():
            figures = self._measure(model, pythons)
            if not figures:
                continue
            result["models"][model.name] = figures
            output.print(table(model.name, figures, CLIENTS))
            result["lead"][model.name] = leads = {
                clients: {"gain": found[0], "over": found[1]}
                for clients in CLIENTS
                if (found := lead(figures, clients)) is not None
            }
            for clients, one in leads.items():
                what = "p50 latency" if clients == 1 else "images/s"
                output.print(
                    f"{clients} client{'s'[: clients > 1]}: {what}: Leyden is "
                    f"{one['gain']:.2f} x as good as the best peer, {one['over']}",
                    markup=False,
                )
        result["problems"] = self.problems
        for problem in self.problems:
            output.print(f"problem: {problem}", markup=False, soft_wrap=True)
        if self._arguments.json:
            self._arguments.json.write_text(json.dumps(result, indent=2) + "\n")

    def _install(self) -> dict[str, str]:
        pythons = {}
        for name in self._arguments.only:
            try:
                pythons[name] = python_of(CONTESTANTS[name], self.say)
            except UnavailableError as error:
                self._problem(f"{name}: {error}")
        return pythons

    def _models(self) -> list[Model]:
        given: list[Model] = self._arguments.model
        if given or self._arguments.quick:
            return given or [EMBEDDED]
        return [EMBEDDED, second(self.say)]

    def _measure(self, model: Model, pythons: dict[str, str]) -> dict[str, Any]:
        self.say(f"{model.name}: diffusers' own pictures")
        try:
            references = CACHE / "references" / model.name
            references.mkdir(parents=True, exist_ok=True)
            reference_pictures(model, references)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no output"])[-1]
            self._problem(f"{model.name}: diffusers cannot run it: {reason}")
            return {}
        starters = [
            (CONTESTANTS[name], setting)
            for name in pythons
            for setting in self._settings(CONTESTANTS[name], model)
        ]
        runs: dict[tuple[str, str], list[Run]] = {}
        for number in range(self._arguments.passes or _passes(model)):
            # There and back again: what changes with time changes for all.
            for contestant, setting in starters if number % 2 == 0 else starters[::-1]:
                key = (contestant.name, setting)
                if number and key not in runs:
                    continue  # it has failed before
                who = f"{model.name}, pass {number + 1}, {contestant.name} ({setting})"
                self.say(who)
                self._first_number += IMAGES_AT_MOST
                try:
                    run = measure(
                        contestant,
                        pythons[contestant.name],
                        model,
                        setting,
                        references,
                        clients=CLIENTS,
                        seconds=self._arguments.seconds,
                        first_number=self._first_number,
                        report=lambda what: self.say(f"  {what}"),
                    )
                except UnavailableError as error:
                    self._problem(f"{who}: {error}")
                    continue
                runs.setdefault(key, []).append(run)
                worst = max(run.max_pixel_difference.values())
                if worst > ALLOWED_DIFFERENCE:
                    self._problem(f"{who}: pictures differ from diffusers' by {worst}/255")
        tune = self._arguments.tune
        return {
            f"{name}: {setting}" if tune else name: summary(runs[name, setting])
            for name, setting in ((contestant.name, setting) for contestant, setting in starters)
            if (name, setting) in runs
        }

    def _settings(self, contestant: Contestant, model: Model) -> list[str]:
        if self._arguments.tune:
            return list(contestant.settings)
        return [contestant.setting_for(model)]

    def _problem(self, what: str) -> None:
        self.say(f"problem: {what}")
        self.problems.append(what)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for; exit with a message where that cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    peers = [name for name in CONTESTANTS if name != "leyden"]
    parser.add_argument(
        "--only",
        metavar="NAME,...",
        type=_names,
        default=list(CONTESTANTS),
        help=f"these peers, of {', '.join(peers)}, beside Leyden",
    )
    parser.add_argument(
        "--model",
        metavar="[NAME=]FOLDER",
        type=_model,
        action="append",
        default=[],
        help=f"a diffusers SDXL folder; may be repeated (default: {EMBEDDED.name} and "
        f"{SECOND}, which may be given by name too)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one pass, 2 s each, the embedded model"
    )
    parser.add_argument("--tune", action="store_true", help="one pass over all settings of all")
    parser.add_argument(
        "--passes",
        type=int,
        help=f"starts of each server (default: 2, and 1 on {SECOND}, which takes long)",
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="length of a measurement, at least (5)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    arguments = parser.parse_args(argv)
    if arguments.quick or arguments.tune:
        arguments.passes = 1
    if arguments.quick:
        arguments.seconds = 2.0
    if (arguments.passes is not None and arguments.passes < 1) or arguments.seconds <= 0:
        parser.error("--passes and --seconds: must be above 0")
    return arguments


def _passes(model: Model) -> int:
    return 1 if model.name == SECOND else 2


def _names(text: str) -> list[str]:
    names = [name.strip().replace("-", "_") for name in text.split(",")]
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no peer {', '.join(map(repr, unknown))}; there are {', '.join(CONTESTANTS)}"
        )
    return ["leyden", *dict.fromkeys(name for name in names if name != "leyden")]


def _model(text: str) -> Model:
    if text == EMBEDDED.name:
        return EMBEDDED
    if text == SECOND:
        return second(lambda what: print(what, file=sys.stderr))
    name, _, folder = text.rpartition("=")
    try:
        return named(name, Path(folder).resolve())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
