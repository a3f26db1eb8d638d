"""What a request costs more where two Gateways share a directory, with a name of its own.

Stages that compute nothing, a Ray for each server, requests in turns. A request that gives no
name asks the directory too, but waits for no answer.
"""

from contextlib import ExitStack

from benchmarks.event_load import EventLoad
from benchmarks.paired import difference_of, in_turns
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess

__all__ = ["measure"]

ASKED_MS = 1.0
STEPS = 4
WARM_UP = 20


def measure(settings: Settings) -> Section:
    """Measure requests at one of two Gateways, and at one that is alone."""
    with ExitStack() as stack:
        requests = {}
        for gateways in (2, 1):
            command = ["-m", "benchmarks.stub_gateway", "--gateways", str(gateways)]
            server = stack.enter_context(ServerProcess(command))
            load = stack.enter_context(EventLoad(server.address, STEPS))
            requests[str(gateways)] = load.request_s
        in_turns(requests, settings.pick(WARM_UP, 1))
        settings.say(f"house_gateways: {settings.pairs} rounds")
        seconds = in_turns(requests, settings.pairs)
    ms = {name: [1000 * one for one in of] for name, of in seconds.items()}
    dearer = difference_of(ms["2"], ms["1"])
    return Section(
        conditions={
            "Gateways": "actors of Ray, stages that compute nothing, a directory for two",
            "requests": f"one at a time, {STEPS} steps, each with a request_id of its own",
        },
        figures=[
            Figure(
                name="A request with two Gateways, dearer than with one",
                asked=f"<= {ASKED_MS:g} ms",
                measured=dearer.shown("ms"),
                met=dearer.median <= ASKED_MS,
            )
        ],
        data={"request_ms": ms},
    )
