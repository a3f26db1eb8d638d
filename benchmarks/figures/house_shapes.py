"""`leyden serve --in-process` against `leyden serve`: memory, and the rate of 16 clients.

Both run all the time and are loaded in turns; the one that waits takes next to no CPU time.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.load import Loader, steady_images_per_s
from benchmarks.one_second_model import one_second_model
from benchmarks.paired import Middle, in_turns, ratio_of
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from leyden_client.bench import Workload
from leyden_server.config import DEFAULT_MODEL

__all__ = ["measure"]

CLIENTS = 16
REQUESTS = 40
"""Of a round; those between the first end of all clients and the last begin count."""
SLOW_ROUNDS = 3
"""With the model of a second, whose memory is what is asked: 25 s each."""
STEPS = 4
MEMORY = {"embedded": 0.4, "one second": 0.6}
RATE = {"embedded": 1.10}


def measure(settings: Settings) -> Section:
    """Measure both models, one after the other."""
    data = {"embedded": _contest(settings, "embedded", DEFAULT_MODEL, None, settings.pairs)}
    with one_second_model(quick=settings.quick) as slow:
        rounds = min(settings.pairs, SLOW_ROUNDS)
        data["one second"] = _contest(settings, "one second", slow.name, slow.base_folder, rounds)
    return Section(
        conditions={
            "servers": "`leyden serve` and `leyden serve --in-process`, default config otherwise, "
            "both running, loaded in turns",
            "memory": "PSS of all processes, after the load",
            "rate": f"{CLIENTS} clients in a closed loop, rounds of {REQUESTS} requests, {STEPS} "
            "steps, guidance off, native size",
        },
        figures=[figure for name, one in data.items() for figure in _figures(name, one)],
        data=data,
    )


def _contest(
    settings: Settings, name: str, model: str, folder: Path | None, rounds: int
) -> dict[str, Any]:
    settings.say(f"house_shapes, {name}: {rounds} rounds")
    with ExitStack() as stack:
        servers: dict[str, ServerProcess] = {}
        loads: dict[str, Callable[[], float]] = {}
        for shape in ("in process", "split"):
            servers[shape] = stack.enter_context(
                ServerProcess.leyden(model, repository=folder, in_process=shape == "in process")
            )
            workload = Workload(model=model, steps=(STEPS,))
            loader = Loader(servers[shape].address, workload, connections=CLIENTS)
            loads[shape] = _rate_by(stack.enter_context(loader), settings)
        in_turns(loads, 1)
        rates = in_turns(loads, rounds)
        pss = {shape: server.pss_bytes() for shape, server in servers.items()}
    return {"images_per_s": rates, "pss_bytes": pss}


def _rate_by(loader: Loader, settings: Settings) -> Callable[[], float]:
    clients, requests = settings.pick(CLIENTS, 2), settings.pick(REQUESTS, 4)
    return lambda: steady_images_per_s(loader.closed(clients, requests), clients)


def _figures(name: str, contest: dict[str, Any]) -> list[Figure]:
    gb = {shape: size / 1e9 for shape, size in contest["pss_bytes"].items()}
    memory = gb["in process"] / gb["split"]
    rates = contest["images_per_s"]
    rate: Middle = ratio_of(rates["in process"], rates["split"])
    asked = RATE.get(name)
    return [
        Figure(
            name=f"Memory of --in-process by split, {name} model",
            asked=f"<= {MEMORY[name]} x",
            measured=f"{memory:.3f} x: {gb['in process']:.2f} and {gb['split']:.2f} GB",
            met=memory <= MEMORY[name],
        ),
        Figure(
            name=f"Rate of --in-process by split, {CLIENTS} clients, {name} model",
            asked="" if asked is None else f">= {asked:.2f} x",
            measured=rate.shown(),
            met=None if asked is None else rate.median >= asked,
        ),
    ]
