"""Events a second that one Gateway sends: stages that compute nothing, 200 streams.

With `--before` in turns with the other commit's Gateway. The client, in this process, reads HTTP/2
frames, so that it is the Gateway that is busy: gRPC's own takes as much time as that.
"""

from contextlib import ExitStack
from pathlib import Path

from benchmarks.conditions import REPOSITORY
from benchmarks.paired import in_turns, ratio_of
from benchmarks.raw_load import RawLoad
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess

__all__ = ["measure"]

STREAMS = 200
STEPS = 50
ASKED = 1.5


def measure(settings: Settings) -> Section:
    """Measure the rate, and by how much it has grown."""
    checkouts = {"now": REPOSITORY}
    if settings.before is not None:
        checkouts["before"] = settings.before
    streams, steps = settings.pick(STREAMS, 4), settings.pick(STEPS, 2)
    rates: dict[str, list[float]] = {}
    cpu_s: dict[str, float] = {}
    with ExitStack() as stack:
        servers, loads = {}, {}
        for name, checkout in checkouts.items():
            servers[name] = stack.enter_context(_stub_gateway(checkout))
            load = stack.enter_context(RawLoad(servers[name].address, steps))
            loads[name] = lambda load=load: load.events_per_s(streams)
        in_turns(loads, settings.pick(3, 1))
        settings.say(f"house_events: {settings.pairs} rounds")
        before_s = {name: server.cpu_s() for name, server in servers.items()}
        rates = in_turns(loads, settings.pairs)
        cpu_s = {name: server.cpu_s() - before_s[name] for name, server in servers.items()}
    events = settings.pairs * streams * steps
    cpu_us = {name: 1e6 * seconds / events for name, seconds in cpu_s.items()}
    return Section(
        conditions={
            "Gateway": "one process, uvloop, stages that compute nothing",
            "load": f"{streams} streams at once to their ends, {steps} steps each, the client in "
            "another process",
        },
        figures=[_figure(rates, cpu_us)],
        data={"events_per_s": rates, "cpu_us_per_step": cpu_us},
    )


def _figure(rates: dict[str, list[float]], cpu_us: dict[str, float]) -> Figure:
    now = sorted(rates["now"])[len(rates["now"]) // 2]
    measured = f"{now:.0f} events/s, {cpu_us['now']:.0f} us of CPU time a step's event"
    if "before" not in rates:
        return Figure(name="Events a second of one Gateway", asked="", measured=measured)
    growth = ratio_of(rates["now"], rates["before"])
    return Figure(
        name="Events a second of one Gateway, by those before",
        asked=f">= {ASKED} x",
        measured=f"{growth.shown()}; {measured}, before {cpu_us['before']:.0f}",
        met=growth.median >= ASKED,
    )


def _stub_gateway(checkout: Path) -> ServerProcess:
    has_house = (checkout / "server" / "leyden_server" / "gateway" / "server.py").exists()
    script = "stub_gateway.py" if has_house else "stub_gateway_before.py"
    return ServerProcess([str(REPOSITORY / "benchmarks" / script)], checkout=checkout)
