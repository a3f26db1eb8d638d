"""Programs that run while the checks do, each with a log of its own."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from support.patience import PATIENCE_S

__all__ = ["Daemon", "Daemons", "until"]

Seen = TypeVar("Seen")
_LOOK_AGAIN_S = 0.25
_GRACE_S = 20.0
_LAST_LINES = 15


class Daemon:
    """One program, started with its output in a file."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on, in order
            )

    def must_run(self) -> None:
        """Raise, with its last words, if the program has ended."""
        code = self._process.poll()
        if code is not None:
            raise RuntimeError(f"{self.name} ended with code {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    def end(self) -> None:
        """End it, gently at first."""
        self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Runs(Protocol):
    """What must go on while the checks do."""

    def must_run(self) -> None:
        """Raise if it has ended, or failed."""

    def end(self) -> None:
        """End it."""


class Daemons:
    """All that runs; ended in the reverse order of their start."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: list[Runs] = []

    def start(self, name: str, *command: str | Path) -> Daemon:
        """Start one."""
        daemon = Daemon(name, command, self.logs / f"{name}.log")
        self._running.append(daemon)
        return daemon

    def must_run(self) -> None:
        """Raise if any has ended by itself."""
        for daemon in self._running:
            daemon.must_run()

    @contextmanager
    def also(self, thing: Runs) -> Iterator[None]:
        """Have one more of them, within."""
        self._running.append(thing)
        try:
            yield
        finally:
            self._running.remove(thing)
            thing.end()

    def end(self) -> None:
        """End all that still run."""
        while self._running:
            self._running.pop().end()


def until(
    what: str, seen: Callable[[], Seen], daemons: Daemons, *, give_up_s: float = PATIENCE_S
) -> Seen:
    """Return what is seen as soon as it is something; a program that died ends the wait at once."""
    begun = time.monotonic()
    while not (found := seen()):
        daemons.must_run()
        if time.monotonic() - begun > give_up_s:
            raise TimeoutError(f"waited {give_up_s:.0f} s in vain until {what}")
        time.sleep(_LOOK_AGAIN_S)
    return found
