"""Leyden beside Triton: the same weights, and one client of Triton's protocol for both."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.contestants import CONTESTANTS, Contestant
from benchmarks.peers.environments import python_of, versions_in
from benchmarks.peers.measure import Run, reference_pictures
from benchmarks.peers.measure import measure as measure_server
from benchmarks.peers.models import EMBEDDED
from benchmarks.peers.report import summary
from benchmarks.section import Figure, Section, Settings

__all__ = ["measure"]

CLIENTS = (1, 4, 16)
IMAGES_AT_MOST = 100_000
"""Of one start: the numbers of prompts and seeds never meet."""
ALLOWED_DIFFERENCE = 1


def measure(settings: Settings) -> Section:
    """Drive both by tritonclient's asyncio client, a ModelStreamInfer for each client."""
    triton_python = python_of(CONTESTANTS["pytriton"], settings.say)
    servers = (
        (replace(CONTESTANTS["leyden"], name="leyden_streams"), CONTESTANTS["leyden"].base_python),
        (replace(CONTESTANTS["pytriton"], name="pytriton_streams"), triton_python),
    )
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant, _ in servers}
    passes = settings.pick(2, 1)
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as folder:
        references = reference_pictures(EMBEDDED, Path(folder))
        for number in range(passes):
            # There and back again: what changes with time changes for both.
            for place, (contestant, python) in enumerate(servers[:: 1 if number % 2 == 0 else -1]):
                settings.say(f"triton: pass {number + 1} of {passes}, {contestant.name}")
                run = measure_server(
                    contestant,
                    python,
                    EMBEDDED,
                    contestant.setting_for(EMBEDDED),
                    references,
                    clients=CLIENTS,
                    seconds=settings.pick(10, 1),
                    first_number=(2 * number + place) * IMAGES_AT_MOST,
                    report=lambda what: settings.say(f"  {what}"),
                    load_python=triton_python,
                )
                _require_right_pictures(contestant, run)
                runs[contestant.name].append(run)
    ours, theirs = (summary(runs[contestant.name]) for contestant, _ in servers)
    return Section(
        conditions={
            "model": EMBEDDED.name,
            "work": "256 x 256, 4 steps, guidance 0, float32, PNG; every prompt and seed is new",
            "client": "tritonclient.grpc.aio, a ModelStreamInfer stream for each client",
            "leyden": f"leyden serve, {ours['setting']}",
            "pytriton": theirs["setting"],
        },
        figures=[_figure(clients, ours, theirs) for clients in CLIENTS],
        data={"leyden": ours, "pytriton": theirs, "versions": versions_in(triton_python)},
    )


def _require_right_pictures(contestant: Contestant, run: Run) -> None:
    worst = max(run.max_pixel_difference.values())
    if worst > ALLOWED_DIFFERENCE:
        raise RuntimeError(f"{contestant.name}: pictures differ from diffusers' by {worst}/255")


def _figure(clients: int, ours: dict[str, Any], theirs: dict[str, Any]) -> Figure:
    mine, its = ours["clients"][clients], theirs["clients"][clients]
    streams = f"{clients} stream{'s'[: clients > 1]}"
    return Figure(
        name=f"{streams} of Triton's client: images/s, p95",
        asked="ahead of pytriton in both",
        measured=(
            f"{mine['images_per_s']:.2f} against {its['images_per_s']:.2f} images/s; "
            f"{mine['latency_p95_ms']:.0f} against {its['latency_p95_ms']:.0f} ms"
        ),
        met=mine["images_per_s"] > its["images_per_s"]
        and mine["latency_p95_ms"] < its["latency_p95_ms"],
    )
