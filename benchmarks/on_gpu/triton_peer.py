"""Stock diffusers behind Triton's Python backend and dynamic batcher, as a peer.

The server is nvidia-pytriton's tritonserver, as in `benchmarks/peers`; the load comes from a
process of its own, by Triton's client for asyncio.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from benchmarks.on_gpu.diffusers_peer import MOST_AT_ONCE
from benchmarks.on_gpu.loops import NotRunError, done
from benchmarks.on_gpu.sdxl_folder import MODEL, PROMPT
from benchmarks.peers.contestants import CONTESTANTS, CORES, Model, Settings
from benchmarks.peers.environments import UnavailableError, is_made, python_of
from benchmarks.peers.measure import DRIVE_TIMEOUT_S, READY_TIMEOUT_S, drive_load
from benchmarks.peers.running import Server, running
from leyden_client.bench import Sample

__all__ = ["TritonPeer", "triton_peer", "triton_python"]

SETTINGS = "one instance"
IMAGES_AT_MOST = 10_000
"""Of one load: the numbers of prompts and seeds never meet."""


class TritonPeer:
    """A tritonserver that runs."""

    def __init__(
        self, server: Server, python: str, started_s: float, *, transport: str = "pytriton"
    ) -> None:
        """Wait until it is ready.

        `python` runs the client, `started_s` is when the server was started, by `perf_counter`,
        and `transport` how it is asked (`in_venv/transports.py`).
        """
        self._server = server
        self._transport = transport
        self._python = python
        self._loads = 0
        self._drive()
        self.start_to_ready_s = time.perf_counter() - started_s

    def picture(self) -> NDArray[Any]:
        """Return the pixels (H, W, 3), after others that warm it up."""
        with tempfile.TemporaryDirectory() as folder:
            self._drive(pictures=[(PROMPT, 0)], pictures_folder=folder, strangers=2 * MOST_AT_ONCE)
            with PIL.Image.open(Path(folder) / "alone-0.png") as opened:
                return np.asarray(opened)

    def closed(self, clients: int, requests: int) -> list[Sample]:
        """Run a closed loop."""
        return self._drive(clients=[clients], requests=requests)

    def open(self, arrivals: Sequence[float]) -> list[Sample]:
        """Run an open loop."""
        return self._drive(arrivals=list(arrivals))

    def _drive(self, **asked: Any) -> list[Sample]:
        self._loads += 1
        plan = {
            "transport": self._transport,
            "address": self._server.address,
            "ready_timeout_s": READY_TIMEOUT_S,
            "drive_timeout_s": DRIVE_TIMEOUT_S,
            "pictures": (),
            "clients": (),
            "seconds": 0.0,
            "requests": 0,
            "arrivals": (),
            "first_number": self._loads * IMAGES_AT_MOST,
        }
        samples: list[Sample] = []
        for event in drive_load(self._python, plan | asked, self._server):
            if event["event"] in {"measured", "arrived"}:
                times = zip(event["ended_s"], event["latencies_s"], strict=True)
                samples += [done(ended - latency, ended) for ended, latency in times]
        return samples


@contextmanager
def triton_peer(python: str, folder: Path, *, device: str, dtype: str) -> Iterator[TritonPeer]:
    """Start tritonserver on a diffusers folder, and stop it.

    Raises:
        NotRunError: it did not start, or failed while it was asked.

    """
    settings: Settings = {
        "instances": 1,
        "threads": CORES,
        "max_batch_size": MOST_AT_ONCE,
        "max_queue_delay_microseconds": 0,
        "device": device,
        "dtype": dtype,
    }
    contestant = replace(CONTESTANTS["pytriton"], settings={SETTINGS: settings})
    started_s = time.perf_counter()
    try:
        with running(contestant, python, Model(MODEL, folder), settings) as server:
            yield TritonPeer(server, python, started_s)
    except UnavailableError as error:
        raise NotRunError(str(error)) from error


def triton_python(given: str | None, *, install: bool, say: Callable[[str], None]) -> str:
    """Return a Python that has nvidia-pytriton and what the model needs.

    Raises:
        NotRunError: there is none.

    """
    contestant = CONTESTANTS["pytriton"]
    if given is not None:
        tried = subprocess.run(
            [given, "-c", "import diffusers, pytriton, torch, transformers, tritonclient"],
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.returncode:
            raise NotRunError(f"{given}: {(tried.stderr.strip().splitlines() or ['ended'])[-1]}")
        return given
    if not install and not is_made(contestant):
        raise NotRunError(
            "nvidia-pytriton is not here: name a Python that has it (--triton-python), or let "
            "pip make its venv where there is a network (--install)"
        )
    try:
        return python_of(contestant, say)
    except UnavailableError as error:
        raise NotRunError(str(error)) from error
