"""Runs the parts of a report, each in a process of its own that gets so much time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

__all__ = ["Part", "run_part"]

GRACE_S = 25.0
"""How long a part that is to stop has for cleaning up, before it is killed with what it started."""

REFUSED = 2
"""How a script ends that cannot do here what it is asked for (argparse)."""

LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One command."""

    name: str
    command: Sequence[str]
    limit_s: float
    """It is stopped after these seconds, or when the report's own time is over."""
    result: Path
    """The file that it writes its figures to, as they come or at its end."""
    read: Callable[[Path], Any] = lambda path: json.loads(path.read_text(encoding="utf-8"))
    """Makes of that file what the report has."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of its environment, beside those of this process."""
    progress_on_stdout: bool = False
    """What it prints there is shown as well; else only what it says on stderr."""


def run_part(part: Part, *, left_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a part; return its state, why it is not `done`, and what it found until then.

    KeyboardInterrupt stops it first, and then goes on to the caller.
    """
    limit_s = min(part.limit_s, left_s)
    outcome: dict[str, Any] = {
        "command": " ".join(part.command),
        "limit_s": round(limit_s, 1),
    }
    if limit_s <= 0:
        return outcome | {"state": "not run", "reason": "the report's time was over"}
    say(f"{part.name}: up to {limit_s:.0f} s")
    started_s = time.monotonic()
    try:
        process = subprocess.Popen(
            part.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if part.progress_on_stdout else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if part.progress_on_stdout else subprocess.PIPE,
            text=True,
            env={**os.environ, **part.variables},
            start_new_session=True,  # Ctrl-C is for the report, which then stops the part
        )
    except OSError as error:
        return outcome | {"state": "not run", "reason": str(error)}
    stream = process.stdout or process.stderr
    assert stream is not None
    said: deque[str] = deque(maxlen=LAST_LINES)
    reader = threading.Thread(target=_relay, args=(stream, said, part.name))
    reader.start()
    try:
        code = process.wait(limit_s)
        state = {0: "done", REFUSED: "not run"}.get(code, "failed")
        reason = f"it ended with {code}" if code else ""
    except subprocess.TimeoutExpired:
        state, reason = "out of time", f"stopped after {limit_s:.0f} s"
    finally:
        _stop(process)
        reader.join(GRACE_S)
    outcome |= {"state": state, "took_s": round(time.monotonic() - started_s, 1)}
    if reason:
        if state == "not run" and said:
            reason = said[-1]
        outcome |= {"reason": reason, "last_lines": list(said)}
    if part.result.is_file():
        outcome["result"] = part.read(part.result)
    say(f"{part.name}: {state} after {outcome['took_s']:.0f} s {reason}".rstrip())
    return outcome


def _relay(stream: IO[str], said: deque[str], name: str) -> None:
    """Show what a part says, and keep its last lines."""
    with stream:
        for line in stream:
            said.append(line.rstrip("\n"))
            print(f"    {name}: {line}", end="", file=sys.stderr, flush=True)


def _stop(process: "subprocess.Popen[str]") -> None:
    """Stop a part as Ctrl-C does, and kill it and what it started where that is not enough."""
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        started += psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(started, timeout=1)
    for one in alive:
        one.kill()
    psutil.wait_procs(alive, timeout=GRACE_S)
