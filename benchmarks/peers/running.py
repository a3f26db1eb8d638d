"""A server as a process: started, and stopped with all that it started."""

import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers.contestants import CACHE, Contestant, Model, Settings

__all__ = ["Server", "running"]

MARK = "LEYDEN_BENCHMARK_MARK"
SETTINGS_VARIABLE = "LEYDEN_BENCHMARK_SETTINGS"
STOP_TIMEOUT_S = 40.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was started, ready or not."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path
    mark: str

    def pss_bytes(self) -> int:
        """Return its memory over all its processes; what they share is counted once."""
        total = 0
        for process in _marked(self.mark):
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue  # gone meanwhile
        return total

    def last_words(self) -> str:
        """Return the last line of its log that says something."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")[:300]


@contextmanager
def running(
    contestant: Contestant, python: str, model: Model, settings: Settings
) -> Iterator[Server]:
    """Start a contestant's server on a free port; on leaving, stop it and all its processes."""
    port, http_port = _free_ports(2)
    mark = str(uuid.uuid4())
    given = {"folder": str(model.folder), "port": port, "http_port": http_port, **settings}
    environment = {
        **os.environ,
        MARK: mark,
        SETTINGS_VARIABLE: json.dumps(given),
        # Nothing is sent home or looked for on a hub while times are taken.
        "HF_HUB_OFFLINE": "1",
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(CACHE / "bentoml"),
    }
    if "threads" in settings:
        environment["OMP_NUM_THREADS"] = str(settings["threads"])
    log = CACHE / "logs" / f"{contestant.name}-{model.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    (CACHE / "bentoml").mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            contestant.command(python, model, port, settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=CACHE,
            start_new_session=True,  # a Ctrl-C is ours alone, and we stop it
        )
    try:
        yield Server(process, f"127.0.0.1:{port}", log, mark)
    finally:
        _stop(process, mark)


def _stop(process: subprocess.Popen[bytes], mark: str) -> None:
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while (left := _marked(mark)) and time.monotonic() < deadline:
            for one in left:
                try:
                    one.kill()
                except psutil.Error:
                    continue  # gone meanwhile
            psutil.wait_procs(left, timeout=1)
        process.wait()


def _marked(mark: str) -> list[psutil.Process]:
    """Return the processes that a server started, however far they have gone from it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue  # not ours to read, or gone
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
