"""Leyden beside Triton: the same weights, and one client of Triton's protocol for both."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.paired import Middle, in_turns, ratio_of
from benchmarks.peers.contestants import CONTESTANTS, IN_PROCESS, Contestant
from benchmarks.peers.environments import UnavailableError, python_of, versions_in
from benchmarks.peers.measure import Run, drive, reference_pictures
from benchmarks.peers.models import EMBEDDED
from benchmarks.peers.report import summary
from benchmarks.peers.running import Server, running
from benchmarks.section import Figure, Section, Settings

__all__ = ["measure"]

CLIENTS = (1, 4, 16)
IMAGES_AT_MOST = 10_000
"""Of one turn: the numbers of prompts and seeds never meet."""
ALLOWED_DIFFERENCE = 1
STARTS = 3
"""Tries of a server: pytriton 0.7 at times ends as it starts, its handshake's socket refused."""

LEYDEN_SETTINGS = {"in process": IN_PROCESS}
"""What suits one small machine (README, Operate it); pytriton is set up for its cores as well."""


@dataclass(slots=True)
class _Running:
    """A server that stays for all turns; it rests while the other has its turn."""

    server: Server
    run: Run
    started: float

    def turn(
        self, python: str, references: Path, seconds: float, number: int, say: Callable[[str], None]
    ) -> dict[int, float]:
        """Drive it once; return images/s for each number of clients."""
        before = len(self.run.loads)
        drive(
            self.server,
            self.run,
            python,
            references,
            clients=CLIENTS,
            seconds=seconds,
            first_number=number * IMAGES_AT_MOST,
            started=self.started,
            report=lambda what: say(f"  {self.run.contestant}: {what}"),
        )
        return {
            load["clients"]: len(load["latencies_s"]) / load["elapsed_s"]
            for load in self.run.loads[before:]
        }


def measure(settings: Settings) -> Section:
    """Drive both in turns by tritonclient's asyncio client, a ModelStreamInfer for each client."""
    triton_python = python_of(CONTESTANTS["pytriton"], settings.say)
    leyden = replace(CONTESTANTS["leyden"], name="leyden_streams", settings=LEYDEN_SETTINGS)
    pytriton = replace(CONTESTANTS["pytriton"], name="pytriton_streams")
    number = iter(range(1, 1000))
    with ExitStack() as stack:
        references = reference_pictures(
            EMBEDDED, Path(stack.enter_context(tempfile.TemporaryDirectory()))
        )

        def turn_of(contestant: Contestant, python: str) -> tuple[Run, Callable[[], Any]]:
            there = stack.enter_context(
                _started(contestant, python, triton_python, references, settings.say)
            )
            seconds = settings.pick(5, 1)
            return there.run, lambda: there.turn(
                triton_python, references, seconds, next(number), settings.say
            )

        our_run, our_turn = turn_of(leyden, leyden.base_python)
        their_run, their_turn = turn_of(pytriton, triton_python)
        rates = in_turns({"leyden": our_turn, "pytriton": their_turn}, settings.pick(7, 1))
    for run in (our_run, their_run):
        _require_right_pictures(run)
    ours, theirs = summary([our_run]), summary([their_run])
    ratios = {
        clients: ratio_of(
            [rate[clients] for rate in rates["leyden"]],
            [rate[clients] for rate in rates["pytriton"]],
        )
        for clients in CLIENTS
    }
    return Section(
        conditions={
            "model": EMBEDDED.name,
            "work": "256 x 256, 4 steps, guidance 0, float32, PNG; every prompt and seed is new",
            "client": "tritonclient.grpc.aio, a ModelStreamInfer stream for each client",
            "turns": "both servers run; one rests while the other is driven",
            "leyden": "leyden serve --in-process",
            "pytriton": theirs["setting"],
        },
        figures=[_figure(clients, ours, theirs, ratios[clients]) for clients in CLIENTS],
        data={"leyden": ours, "pytriton": theirs, "versions": versions_in(triton_python)},
    )


@contextmanager
def _started(
    contestant: Contestant,
    python: str,
    load_python: str,
    references: Path,
    say: Callable[[str], None],
) -> Iterator[_Running]:
    """Start a server and warm it up; what is measured meanwhile does not count."""
    setting = contestant.setting_for(EMBEDDED)
    for left in reversed(range(STARTS)):
        with ExitStack() as stack:
            started = time.perf_counter()
            server = stack.enter_context(
                running(contestant, python, EMBEDDED, contestant.settings[setting])
            )
            there = _Running(server, Run(contestant.name, setting), started)
            try:
                there.turn(load_python, references, 1, 0, say)
            except UnavailableError as error:
                if left == 0:
                    raise
                say(f"  {error}; starting it again")
                continue
            there.run.loads.clear()
            yield there
            return


def _require_right_pictures(run: Run) -> None:
    worst = max(run.max_pixel_difference.values())
    if worst > ALLOWED_DIFFERENCE:
        raise RuntimeError(f"{run.contestant}: pictures differ from diffusers' by {worst}/255")


def _figure(clients: int, ours: dict[str, Any], theirs: dict[str, Any], ratio: Middle) -> Figure:
    mine, its = ours["clients"][clients], theirs["clients"][clients]
    streams = f"{clients} stream{'s'[: clients > 1]}"
    return Figure(
        name=f"{streams} of Triton's client: images/s, p95",
        asked="ahead of pytriton in both",
        measured=(
            f"{mine['images_per_s']:.2f} against {its['images_per_s']:.2f} images/s, "
            f"{ratio.shown()}; p95 {mine['latency_p95_ms']:.0f} against "
            f"{its['latency_p95_ms']:.0f} ms"
        ),
        met=ratio.median > 1 and mine["latency_p95_ms"] < its["latency_p95_ms"],
    )
