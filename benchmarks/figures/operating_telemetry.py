"""What metrics and traces cost: the rate with both, by that with neither.

A server always counts; the one without metrics has an observer in their place that does nothing.

Two servers of the embedded model, loaded in turns; the one that waits takes next to no CPU time.
And three Gateways before stages that compute nothing, for what a request costs more in CPU time,
which no rate of a real model is exact enough to show.
"""

import socket
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.load import Loader, steady_images_per_s
from benchmarks.paired import Middle, in_turns, ratio_of
from benchmarks.raw_load import RawLoad
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from benchmarks.stub_gateway import stub_command
from leyden_client.bench import Workload
from leyden_server.config import DEFAULT_MODEL

__all__ = ["measure"]

ASKED = 0.98
CLIENTS = 8
REQUESTS = 40
"""Of a round; those between the first end of all clients and the last begin count."""
ROUNDS = 10
STEPS = 4
STREAMS = 100
"""Generations of a round of the Gateways that compute nothing."""
STUB_ROUNDS = 50


def measure(settings: Settings) -> Section:
    """Measure both, one after the other."""
    with ExitStack() as stack:
        sink = stack.enter_context(ServerProcess(["-m", "benchmarks.trace_sink"]))
        endpoint = f"http://{sink.address}"
        rates = _rates(settings, endpoint)
        cpu_us = _cpu_us(settings, endpoint)
    return Section(
        conditions={
            "servers": "`leyden serve --in-process`, default config otherwise, both running, "
            "loaded in turns; the page of metrics is read once a round",
            "traces": f"all of them, {STEPS + 5} spans an image, by gRPC to a process on this "
            "machine that decodes nothing",
            "rate": f"{CLIENTS} clients in a closed loop, rounds of {REQUESTS} requests, {STEPS} "
            "steps, native size",
            "CPU time": f"of a Gateway, {STUB_ROUNDS} rounds of {STREAMS} generations at once",
        },
        figures=[
            _rate_figure(ratio_of(rates["on"], rates["off"]), rates["off"]),
            _cpu_figure("metrics", cpu_us["counted"], cpu_us["neither"]),
            _cpu_figure("metrics and traces", cpu_us["traced"], cpu_us["neither"]),
        ],
        data={"images_per_s": rates, "cpu_us_per_request": cpu_us},
    )


def _rates(settings: Settings, endpoint: str) -> dict[str, list[float]]:
    page_port = _free_port()
    with ExitStack() as stack:
        loads: dict[str, Callable[[], float]] = {}
        for name, gateway, module in (
            ("on", {"trace_endpoint": endpoint, "metrics_port": page_port}, ""),
            ("off", {"metrics_port": None}, "benchmarks.uncounted"),
        ):
            process = ServerProcess.leyden(
                DEFAULT_MODEL, config={"gateway": gateway}, in_process=True, module=module
            )
            server = stack.enter_context(process)
            workload = Workload(model=DEFAULT_MODEL, steps=(STEPS,))
            loader = stack.enter_context(Loader(server.address, workload, connections=CLIENTS))
            loads[name] = _rate_by(loader, settings, page_port if name == "on" else None)
        in_turns(loads, settings.pick(2, 1))
        rounds = settings.pick(ROUNDS, 2)
        settings.say(f"operating_telemetry: {rounds} rounds of the embedded model")
        return in_turns(loads, rounds)


def _rate_by(loader: Loader, settings: Settings, page_port: int | None) -> Callable[[], float]:
    clients, requests = settings.pick(CLIENTS, 2), settings.pick(REQUESTS, 4)

    def rate() -> float:
        images_per_s = steady_images_per_s(loader.closed(clients, requests), clients)
        if page_port is not None:
            with urllib.request.urlopen(f"http://127.0.0.1:{page_port}/metrics") as page:
                page.read()
        return images_per_s

    return rate


def _cpu_us(settings: Settings, endpoint: str) -> dict[str, float]:
    streams, rounds = settings.pick(STREAMS, 4), settings.pick(STUB_ROUNDS, 2)
    with ExitStack() as stack:
        servers: dict[str, ServerProcess] = {}
        loads: dict[str, Callable[[], float]] = {}
        for name, command in {
            "traced": stub_command(trace_endpoint=endpoint),
            "counted": stub_command(),
            "neither": [*stub_command(), "--uncounted"],
        }.items():
            servers[name] = stack.enter_context(ServerProcess(command))
            load = stack.enter_context(RawLoad(servers[name].address, STEPS))
            loads[name] = partial(load.events_per_s, streams)
        in_turns(loads, settings.pick(5, 1))
        settings.say(f"operating_telemetry: {rounds} rounds that compute nothing")
        # Of all rounds together: the system counts CPU time in hundredths of a second.
        before_s = {name: server.cpu_s() for name, server in servers.items()}
        in_turns(loads, rounds)
        used_s = {name: server.cpu_s() - before_s[name] for name, server in servers.items()}
    return {name: 1e6 * seconds / (rounds * streams) for name, seconds in used_s.items()}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _rate_figure(ratio: Middle, off: list[float]) -> Figure:
    return Figure(
        name="Rate with metrics and traces, by that without",
        asked=f">= {ASKED} x",
        measured=f"{ratio.shown()}; without {sorted(off)[len(off) // 2]:.2f} images/s",
        met=ratio.median >= ASKED,
    )


def _cpu_figure(what: str, on_us: float, off_us: float) -> Figure:
    return Figure(
        name=f"CPU time of the Gateway for a request, more with {what}",
        asked="",
        measured=f"{on_us - off_us:.0f} us; without {off_us:.0f} us",
    )
