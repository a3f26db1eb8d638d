"""What a request costs more where two Gateways share a directory.

Stages that compute nothing, a Ray for each server, requests in turns. Of a request_id that the
client gives the directory's answer is awaited; of one that the Gateway draws it is not.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.event_load import EventLoad
from benchmarks.paired import Middle, difference_of, in_turns
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess

__all__ = ["measure"]

ASKED_MS = 1.0
STEPS = 4
WARM_UP = 20
KINDS = ("named", "unnamed")


def measure(settings: Settings) -> Section:
    """Measure requests at one of two Gateways, and at one that is alone."""
    with ExitStack() as stack:
        requests: dict[str, Callable[[], float]] = {}
        for gateways in (2, 1):
            command = ["-m", "benchmarks.stub_gateway", "--gateways", str(gateways)]
            server = stack.enter_context(ServerProcess(command))
            load = stack.enter_context(EventLoad(server.address, STEPS))
            for kind in KINDS:
                requests[f"{gateways}, {kind}"] = partial(load.request_s, named=kind == "named")
        in_turns(requests, settings.pick(WARM_UP, 1))
        settings.say(f"house_gateways: {settings.pairs} rounds")
        seconds = in_turns(requests, settings.pairs)
    ms = {name: [1000 * one for one in of] for name, of in seconds.items()}
    return Section(
        conditions={
            "Gateways": "actors of Ray, stages that compute nothing, a directory for two",
            "requests": f"one at a time, {STEPS} steps; named: with a request_id of the client's",
        },
        figures=[
            _figure(kind, difference_of(ms[f"2, {kind}"], ms[f"1, {kind}"])) for kind in KINDS
        ],
        data={"request_ms": ms},
    )


def _figure(kind: str, dearer: Middle) -> Figure:
    return Figure(
        name=f"A request with two Gateways, dearer than with one, {kind}",
        asked=f"<= {ASKED_MS:g} ms",
        measured=dearer.shown("ms"),
        met=dearer.median <= ASKED_MS,
    )
