"""Start to ready, split, in turns with the other commit's: needs `--before`."""

from pathlib import Path

from benchmarks.conditions import REPOSITORY
from benchmarks.paired import in_turns, ratio_of
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess

__all__ = ["measure"]

ROUNDS = 20
"""At most: a start takes some 15 s."""
NAME = "Start to ready, embedded model, by that before"


def measure(settings: Settings) -> Section:
    """Start each so many times, one after the other."""
    if settings.before is None:
        figure = Figure(name=NAME, asked="<= 1.00 x", measured="not measured: --before is missing")
        return Section(conditions={}, figures=[figure])
    checkouts = {"now": REPOSITORY, "before": settings.before}
    starts = {
        name: lambda checkout=checkout: _start_s(checkout) for name, checkout in checkouts.items()
    }
    if not settings.quick:
        settings.say("house_start: once each, so that the files are in the disk cache")
        in_turns(starts, 1)
    rounds = min(settings.pairs, ROUNDS)
    settings.say(f"house_start: {rounds} rounds")
    seconds = in_turns(starts, rounds)
    ratio = ratio_of(seconds["now"], seconds["before"])
    return Section(
        conditions={
            "server": "`leyden serve` over Ray, default config, from command to ready line"
        },
        figures=[
            Figure(name=NAME, asked="<= 1.00 x", measured=ratio.shown(), met=ratio.median <= 1)
        ],
        data={"start_to_ready_s": seconds},
    )


def _start_s(checkout: Path) -> float:
    with ServerProcess.leyden(checkout=checkout) as server:
        return server.start_to_ready_s
