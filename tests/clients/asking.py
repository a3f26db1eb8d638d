"""A runner as a process: an ask a line in, an answer a line out."""

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clients.languages.language import Command
from support.leash import leashed

__all__ = ["ANSWER_TIMEOUT_S", "Runner", "RunnerError"]

ANSWER_TIMEOUT_S = 120.0
"""For an answer, which takes seconds: it ends a hang, and nothing is judged by it."""
SAID_LINES = 12
"""Of what a runner has written to stderr, as many lines are shown where it fails."""


class RunnerError(Exception):
    """A runner did not answer; the text says what it did instead."""


class Runner:
    """Starts a language's runner when it is first asked, and again where it has died."""

    def __init__(self, command: Command, log: Path) -> None:
        """Take how it is started, and where what it writes to stderr goes."""
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, ask: Mapping[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the answer.

        Raises:
            RunnerError: there is none, or it is no answer.

        """
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(ask).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise self._failed("does not take asks") from error
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise self._failed(f"did not answer within {timeout_s:g} s") from None
        if not line:
            raise self._failed("ended without an answer")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._failed(f"answered what is no JSON: {line[:300]!r}") from None
        return answer

    @property
    def pid(self) -> int:
        """Its process; starts it where it does not run."""
        return self._running().pid

    def end(self) -> int | None:
        """Close its input and wait for its end; return its status, None: it was not running."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        try:
            process.stdin.close()
            return process.wait(ANSWER_TIMEOUT_S / 4)
        except (OSError, subprocess.TimeoutExpired):
            return None
        finally:
            _kill(process)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._answers = queue.SimpleQueue()
            with self._log.open("ab") as log:
                # In a session of its own: Ctrl-C is the harness', which ends it in order.
                self._process = subprocess.Popen(
                    leashed(self._command.arguments),
                    cwd=self._command.folder,
                    env={**os.environ, **self._command.environment},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            reading = (self._process, self._answers)
            threading.Thread(target=_read, args=reading, daemon=True).start()
        return self._process

    def _failed(self, what: str) -> RunnerError:
        process, self._process = self._process, None
        if process is not None:
            _kill(process)
            what = f"{what} (status {process.returncode})"
        said = self._log.read_text("utf-8", "replace").splitlines()[-SAID_LINES:]
        return RunnerError("\n".join([f"the runner {what}", *said]))


def _read(process: "subprocess.Popen[bytes]", answers: "queue.SimpleQueue[bytes]") -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            answers.put(line)
    answers.put(b"")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
