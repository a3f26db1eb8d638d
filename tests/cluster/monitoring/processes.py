"""Programs that run while something is looked at, with what they wrote."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Program", "running"]

STOP_S = 60.0
"""What a program gets to end by itself, before it is killed."""


class Program:
    """A program in a session of its own."""

    def __init__(self, command: Sequence[str], folder: Path, name: str) -> None:
        """Start it; what it writes goes to files in `folder`."""
        self.stdout, self.stderr = folder / f"{name}.out", folder / f"{name}.log"
        with self.stdout.open("wb") as out, self.stderr.open("wb") as log:
            self.process = subprocess.Popen(
                list(command), cwd=folder, stdout=out, stderr=log, start_new_session=True
            )

    def said(self) -> str:
        """Return what it wrote to stdout so far.

        Raises:
            RuntimeError: it has ended.

        """
        if self.process.poll() is not None:
            end = self.log()[-2000:]
            raise RuntimeError(f"{self.process.args!r} ended ({self.process.returncode}):\n{end}")
        return self.stdout.read_text("utf-8", "replace")

    def log(self) -> str:
        """Return what it wrote to stderr so far."""
        return self.stderr.read_text("utf-8", "replace")

    def end(self) -> None:
        """Ask it to end, and wait; kill what is left of its session."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(command: Sequence[str], folder: Path, name: str) -> Iterator[Program]:
    """Run a program until the block ends."""
    program = Program(command, folder, name)
    try:
        yield program
    finally:
        program.end()
