"""How long a client waits for a refusal, of each kind that comes before any stage is asked."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.key_file import write_keys
from benchmarks.paired import in_turns
from benchmarks.plain_calls import PlainCalls
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from benchmarks.stub_gateway import MODEL, stub_command

__all__ = ["measure"]

ASKED_MS = 2.0
STEPS = 4
WARM_UP = 100
ROUNDS = 1000
"""A round takes about six milliseconds."""

WRONG: dict[str, dict[str, Any]] = {
    "INVALID_FIELD": {"num_inference_steps": 10**6},
    "MODEL_NOT_FOUND": {"model": "no-such-model"},
    "PRIORITY_NOT_ALLOWED": {"priority": 1},
    "RATE_LIMITED": {},
}
"""By the reason: the fields that are refused for it."""


def measure(settings: Settings) -> Section:
    """Measure one client's refusals in turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-benchmark-")))
        file = folder / "keys.yaml"
        key = write_keys(file, 10, images_per_minute=0.001, most_priority=2)
        server = stack.enter_context(ServerProcess(stub_command(api_keys=str(file))))
        connect = partial(PlainCalls, server.address, MODEL, STEPS)
        known = stack.enter_context(connect(key=key))
        unknown = stack.enter_context(connect())
        known.native_s()  # the one image that the key has
        refusals: dict[str, Callable[[], float]] = {
            reason: partial(known.refused_s, reason, **fields) for reason, fields in WRONG.items()
        }
        refusals["UNAUTHENTICATED"] = partial(unknown.refused_s, "UNAUTHENTICATED")
        in_turns(refusals, settings.pick(WARM_UP, 2))
        rounds = settings.pick(ROUNDS, 4)
        settings.say(f"operating_refusals: {rounds} rounds")
        seconds = in_turns(refusals, rounds)
    ms = {reason: sorted(1000 * one for one in of) for reason, of in seconds.items()}
    return Section(
        conditions={
            "Gateway": "one process, uvloop, ten API keys, a request log",
            "calls": "one at a time, by blocking gRPC on a connection that stays open",
        },
        figures=[_figure(reason, of) for reason, of in ms.items()],
        data={"refused_ms": ms},
    )


def _figure(reason: str, ms: list[float]) -> Figure:
    median, p95 = ms[len(ms) // 2], ms[int(0.95 * len(ms))]
    return Figure(
        name=f"A refusal: {reason}",
        asked=f"< {ASKED_MS:g} ms",
        measured=f"{median:.2f} ms, p95 {p95:.2f} ms, {len(ms)} refusals",
        met=median < ASKED_MS,
    )
