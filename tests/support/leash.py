"""Processes that end with whoever started them, whatever ended that: SIGKILL and a crash too.

    Popen(leashed([sys.executable, "-m", "leyden_cli", "serve"]), …)

A `finally` stops what a program has started, but not where the program is killed. Linux does: a
process asks for a signal at its parent's death (`prctl(2)`, PR_SET_PDEATHSIG), which lasts over
`execve`. So this file runs in the new process, asks, and becomes the command. Elsewhere it only
becomes the command. The parent, to Linux, is the thread that started the process: let it be one
that lives as long as the program.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

__all__ = ["leashed"]

PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str], by: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return a command that runs `command`, and is sent `by` when the process that starts it dies.

    SIGTERM in place of SIGKILL is for what has processes of its own to stop.
    """
    return [sys.executable, "-I", __file__, str(os.getpid()), str(int(by)), *command]


def _become(parent: int, by: int, command: Sequence[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, by)
        if os.getppid() != parent:  # it has died before it was asked
            sys.exit(f"{command[0]}: who started it is gone")
    os.execvp(command[0], list(command))


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
