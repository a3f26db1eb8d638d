"""What a call costs where the server has 10,000 API keys, by one where it has ten."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.key_file import write_keys
from benchmarks.paired import in_turns, ratio_of
from benchmarks.plain_calls import PlainCalls
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from benchmarks.stub_gateway import MODEL, stub_command

__all__ = ["measure"]

ASKED = 1.02
MANY, FEW = 10_000, 10
SERVERS = {f"{MANY}": MANY, f"{FEW}": FEW, f"{FEW}, another": FEW}
"""The last is there for what two servers differ by that have the same."""

STEPS = 4
WARM_UP = 100
ROUNDS = 1000
"""A round takes about ten milliseconds."""


def measure(settings: Settings) -> Section:
    """Measure one client's calls with a valid key, and with none that is known, in turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-benchmark-")))
        made: dict[str, Callable[[], float]] = {}
        refused: dict[str, Callable[[], float]] = {}
        for name, count in SERVERS.items():
            file = folder / f"{name}.yaml"
            key = write_keys(file, count)
            server = stack.enter_context(ServerProcess(stub_command(api_keys=str(file))))
            known = stack.enter_context(PlainCalls(server.address, MODEL, STEPS, key=key))
            unknown = stack.enter_context(
                PlainCalls(server.address, MODEL, STEPS, key=key[:-1] + _other(key[-1]))
            )
            made[name] = known.native_s
            refused[name] = lambda calls=unknown: calls.refused_s("UNAUTHENTICATED")
        in_turns(made, settings.pick(WARM_UP, 2))
        rounds = settings.pick(ROUNDS, 4)
        settings.say(f"operating_keys: {rounds} rounds, twice")
        made_s = in_turns(made, rounds)
        refused_s = in_turns(refused, rounds)
    return Section(
        conditions={
            "Gateway": "one process, uvloop, stages that compute nothing, each with its key file",
            "calls": f"one at a time, one image of {STEPS} steps; refused: a key "
            "whose last letter is another",
        },
        figures=[_figure("A call", made_s), _figure("A refused call", refused_s)],
        data={"call_s": made_s, "refused_s": refused_s},
    )


def _other(letter: str) -> str:
    return "a" if letter != "a" else "q"


def _figure(what: str, seconds: dict[str, list[float]]) -> Figure:
    many, few, again = (seconds[name] for name in SERVERS)
    ratio = ratio_of(many, few)
    return Figure(
        name=f"{what} with {MANY} keys, by one with {FEW}",
        asked=f"<= {ASKED:g} x",
        measured=f"{ratio.shown()}; two servers with {FEW}: {ratio_of(again, few).shown()}",
        met=ratio.median <= ASKED,
    )
