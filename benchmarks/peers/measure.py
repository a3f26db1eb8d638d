"""One contestant on one model, from start to stop."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers.contestants import CACHE, IN_VENV, Contestant, Model
from benchmarks.peers.environments import UnavailableError
from benchmarks.peers.running import Server, running

__all__ = [
    "DRIVE_TIMEOUT_S",
    "PICTURES",
    "READY_TIMEOUT_S",
    "Run",
    "drive",
    "drive_load",
    "measure",
    "reference_pictures",
]

PICTURES = (("A red barn in a field of wheat, 1", 700_001), ("Fog over a harbour, 2", 700_002))
"""Prompts and seeds of the pictures that are compared with diffusers."""

STRANGERS = 14
"""Other images under way while they are made the second time: 16 with the pictures."""

READY_TIMEOUT_S = 180.0
DRIVE_TIMEOUT_S = 500.0
"""For everything after that."""


@dataclass(slots=True)
class Run:
    """What came out of one start of one contestant on one model."""

    contestant: str
    setting: str
    start_to_ready_s: float = 0.0
    pss_gb: float = 0.0
    max_pixel_difference: dict[str, int] = field(default_factory=dict)
    """Largest difference to diffusers' picture in 1/255, alone and among others."""
    loads: list[dict[str, Any]] = field(default_factory=list)
    """What `in_venv/load.py` says of each measurement."""


def reference_pictures(model: Model, folder: Path) -> Path:
    """Let diffusers alone make `PICTURES` in this venv; return the folder with a PNG a seed."""
    subprocess.run(
        [sys.executable, str(IN_VENV / "reference.py"), str(model.folder), str(folder)],
        input=json.dumps(PICTURES),
        text=True,
        check=True,
        capture_output=True,
    )
    return folder


def measure(
    contestant: Contestant,
    python: str,
    model: Model,
    setting: str,
    references: Path,
    *,
    clients: Sequence[int],
    seconds: float,
    first_number: int,
    report: Callable[[str], None],
) -> Run:
    """Start the server, compare its pictures, drive it with each number of clients, stop it.

    `seconds` is how long each measurement lasts at least; prompts and seeds count up from
    `first_number`. The Python that runs the server asks it.

    Raises:
        UnavailableError: it did not start, or failed while it was driven.

    """
    run = Run(contestant.name, setting)
    started = time.perf_counter()
    with running(contestant, python, model, contestant.settings[setting]) as server:
        drive(
            server,
            run,
            python,
            references,
            clients=clients,
            seconds=seconds,
            first_number=first_number,
            started=started,
            report=report,
        )
    return run


def drive(
    server: Server,
    run: Run,
    load_python: str,
    references: Path,
    *,
    clients: Sequence[int],
    seconds: float,
    first_number: int,
    started: float,
    report: Callable[[str], None],
) -> None:
    """Wait for a server, compare its pictures and drive it; add what is seen to `run`.

    `started` is when it was, by `time.perf_counter`; the others are those of `measure`.

    Raises:
        UnavailableError: it did not start, or failed while it was driven.

    """
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-", dir=CACHE) as pictures:
        plan = {
            "transport": run.contestant,
            "address": server.address,
            "ready_timeout_s": READY_TIMEOUT_S,
            "drive_timeout_s": DRIVE_TIMEOUT_S,
            "pictures": PICTURES,
            "pictures_folder": pictures,
            "strangers": STRANGERS,
            "clients": clients,
            "seconds": seconds,
            "requests": 0,
            "arrivals": (),
            "first_number": first_number,
        }
        for event in drive_load(load_python, plan, server):
            match event.pop("event"):
                case "ready":
                    run.start_to_ready_s = run.start_to_ready_s or time.perf_counter() - started
                    report("ready; warming up")
                case "warm":
                    report("measuring")
                case "measured":
                    run.loads.append(event)
                    rate = len(event["latencies_s"]) / event["elapsed_s"]
                    report(f"{event['clients']} clients: {rate:.2f} images/s")
        run.pss_gb = max(run.pss_gb, server.pss_bytes() / 1e9)
        for name, difference in _differences(Path(pictures), references).items():
            run.max_pixel_difference[name] = max(difference, run.max_pixel_difference.get(name, 0))


def drive_load(python: str, plan: dict[str, Any], server: Server) -> Iterator[dict[str, Any]]:
    """Run the load generator in the venv; yield what it says as it says it.

    Raises:
        UnavailableError: it failed, or its server ended.

    """
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [python, str(IN_VENV / "load.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as load,
    ):
        assert load.stdin is not None
        assert load.stdout is not None

        def end_with_server() -> None:
            server.process.wait()
            load.kill()

        threading.Thread(target=end_with_server, daemon=True).start()
        try:
            load.stdin.write(json.dumps(plan))
            load.stdin.close()
            for line in load.stdout:
                yield json.loads(line)
            failed = load.wait()
        finally:
            load.kill()
        if failed:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            why = server.process.poll()
            ended = "" if why is None else f"its server ended with {why}; "
            raise UnavailableError(
                f"{ended}load: {lines[-1][:300] if lines else 'no output'}; "
                f"server: {server.last_words()} ({server.log})"
            )


def _differences(pictures: Path, references: Path) -> dict[str, int]:
    differences: dict[str, int] = {}
    for path in sorted(pictures.iterdir()):
        name, _, seed = path.stem.rpartition("-")
        made, expected = (
            np.asarray(Image.open(one).convert("RGB"), dtype=np.int16)
            for one in (path, references / f"{seed}.png")
        )
        if made.shape != expected.shape:
            raise UnavailableError(f"its picture is {made.shape}, diffusers' {expected.shape}")
        largest = int(np.abs(made - expected).max())
        differences[name] = max(largest, differences.get(name, 0))
    return differences
