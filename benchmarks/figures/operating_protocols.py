"""What a call by KServe's protocol costs more than the same by leyden.v1; nothing is computed."""

from contextlib import ExitStack
from functools import partial

from benchmarks.paired import difference_of, in_turns
from benchmarks.plain_calls import PlainCalls
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from benchmarks.stub_gateway import MODEL, stub_command

__all__ = ["measure"]

ASKED_MS = 1.0
STEPS = 4
WARM_UP = 100
ROUNDS = 1000
"""A round takes about ten milliseconds."""

NATIVE = "GenerateImage"


def measure(settings: Settings) -> Section:
    """Measure one client's calls of the three methods in turns."""
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(stub_command()))
        calls = stack.enter_context(PlainCalls(server.address, MODEL, STEPS))
        methods = {
            NATIVE: calls.native_s,
            "ModelInfer": calls.infer_s,
            "ModelStreamInfer": calls.stream_infer_s,
        }
        in_turns(methods, settings.pick(WARM_UP, 2))
        rounds = settings.pick(ROUNDS, 4)
        settings.say(f"operating_protocols: {rounds} rounds")
        seconds = in_turns(methods, rounds)
    ms = {name: [1000 * one for one in of] for name, of in seconds.items()}
    return Section(
        conditions={
            "Gateway": "one process, uvloop, stages that compute nothing",
            "calls": f"one at a time, one image of {STEPS} steps; ModelInfer has one answer, the "
            "streams one for each step and one for the image; outputs are image files",
        },
        figures=list(map(partial(_figure, ms), [name for name in ms if name != NATIVE])),
        data={"call_ms": ms},
    )


def _figure(ms: dict[str, list[float]], method: str) -> Figure:
    dearer = difference_of(ms[method], ms[NATIVE])
    native = sorted(ms[NATIVE])[len(ms[NATIVE]) // 2]
    return Figure(
        name=f"{method}, dearer than {NATIVE}",
        asked=f"<= {ASKED_MS:g} ms",
        measured=f"{dearer.shown('ms')}; {NATIVE} itself {native:.2f} ms",
        met=dearer.median <= ASKED_MS,
    )
