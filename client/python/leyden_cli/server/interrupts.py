"""Signals that are to end `leyden serve`, so that none is lost."""

import io
import signal
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

    Python drops an exception that is raised where nobody could catch it: in what runs around a
    fork, say, and Ray forks all the time while it starts. Such a one is raised again.
    """
    remaining = 2

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal remaining
        remaining -= 1
        sys.stdout = io.StringIO()
        if remaining >= 0:
            raise KeyboardInterrupt

    def interrupt_again(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def dropped(what: "UnraisableHookArgs") -> None:
        # Ray's own handler of SIGTERM, which stands while Ray starts, raises SystemExit.
        if issubclass(what.exc_type, KeyboardInterrupt | SystemExit):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)
        else:
            sys.__unraisablehook__(what)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGALRM, interrupt_again)
    sys.unraisablehook = dropped
