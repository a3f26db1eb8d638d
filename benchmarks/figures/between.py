"""What an image's time in the server is longer for the stages' being processes of their own.

The split server and one of one process both run, are asked in turns by one client, and say in their
traces when each stage ran: what lies between is no model's work.
"""

import statistics
from contextlib import ExitStack
from dataclasses import asdict, fields

from benchmarks.load import Loader
from benchmarks.paired import difference_of, in_turns
from benchmarks.section import Figure, Section, Settings, TextTable
from benchmarks.server_process import ServerProcess
from benchmarks.span_sink import ImageTimes, SpanSink, collecting
from leyden_client.bench import Workload
from leyden_server.config import DEFAULT_MODEL

__all__ = ["measure"]

ASKED_MS = 11.0
STEPS = 4
ROUNDS = 12
REQUESTS = 10
"""Of a round."""


def measure(settings: Settings) -> Section:
    """Ask both servers in turns."""
    rounds, requests = settings.pick(ROUNDS, 2), settings.pick(REQUESTS, 2)
    with ExitStack() as stack:
        asking = {}
        for name, in_process in (("split", False), ("one process", True)):
            settings.say(f"between: starting {name}")
            sink = stack.enter_context(collecting())
            process = ServerProcess.leyden(
                DEFAULT_MODEL,
                config={"gateway": {"trace_endpoint": sink.endpoint}},
                in_process=in_process,
            )
            server = stack.enter_context(process)
            workload = Workload(model=DEFAULT_MODEL, steps=(STEPS,))
            loader = stack.enter_context(Loader(server.address, workload))
            asking[name] = _Asking(loader, sink, requests)
        in_turns(asking, 1)
        settings.say(f"between: {rounds} rounds of {requests} requests")
        found = in_turns(asking, rounds)
    split, single = found["split"], found["one process"]
    over = difference_of([one.total for one in split], [one.total for one in single])
    return Section(
        conditions={
            "servers": "`leyden serve` and `leyden serve --in-process`, default config but for "
            "traces, both running, asked in turns",
            "requests": f"one client, {STEPS} steps, guidance off, native size, a new prompt each; "
            f"medians of rounds of {requests}",
        },
        figures=[
            Figure(
                name="an image's time in the split server, over that in one process",
                asked=f"<= {ASKED_MS:g}",
                measured=over.shown("ms"),
                met=over.median <= ASKED_MS,
            )
        ],
        tables=[_table(found)],
        data={name: [asdict(one) for one in rounds_of] for name, rounds_of in found.items()},
    )


class _Asking:
    """A round of requests at one server."""

    def __init__(self, loader: Loader, sink: SpanSink, requests: int) -> None:
        self._loader, self._sink, self._requests = loader, sink, requests

    def __call__(self) -> ImageTimes:
        """Return the median of each time."""
        self._loader.closed(1, self._requests)
        times = self._sink.take(self._requests)
        return ImageTimes(
            **{
                field.name: statistics.median(getattr(one, field.name) for one in times)
                for field in fields(ImageTimes)
            }
        )


def _table(found: dict[str, list[ImageTimes]]) -> TextTable:
    rows = []
    for field in fields(ImageTimes):
        cells = [
            f"{statistics.median(getattr(one, field.name) for one in rounds):.1f}"
            for rounds in found.values()
        ]
        rows.append((field.name.replace("_", " "), *cells))
    return TextTable(title="an image's time, ms", columns=("", *found), rows=tuple(rows))
