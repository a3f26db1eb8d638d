"""Signals that are to end `leyden serve`, so that none is lost."""

import io
import signal
import subprocess
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ["interrupt_on_signals"]

AGAIN_AFTER_S = 0.05


def interrupt_on_signals() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt, twice; a third changes nothing more.

    From the first on nothing is shown of what is printed to `sys.stdout`: while it is taken down,
    Ray reports each actor that it ends as a failure there.

    Ray starts processes all the time while it starts. What libraries do around a fork, to their
    locks say, must not be broken off in the middle: the exception is raised once the process is
    there. Python drops one that is raised where nobody could catch it; such a one is raised again.
    """
    remaining = 2

    def interrupt(_signal: int, frame: FrameType | None) -> None:
        nonlocal remaining
        remaining -= 1
        sys.stdout = io.StringIO()
        if remaining >= 0:
            interrupt_now_or_soon(_signal, frame)

    def interrupt_now_or_soon(_signal: int, frame: FrameType | None) -> None:
        if not _starts_a_process(frame):
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)

    def dropped(what: "UnraisableHookArgs") -> None:
        # Ray's own handler of SIGTERM, which stands while Ray starts, raises SystemExit.
        if issubclass(what.exc_type, KeyboardInterrupt | SystemExit):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)
        else:
            sys.__unraisablehook__(what)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGALRM, interrupt_now_or_soon)
    sys.unraisablehook = dropped


def _starts_a_process(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _STARTING:
        frame = frame.f_back
    return frame is not None


_STARTING = subprocess.Popen._execute_child.__code__  # type: ignore[attr-defined]
"""What runs from before the fork until the child runs its program."""
