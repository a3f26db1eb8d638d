"""A real server with its page, and what its request log says."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from clients.languages.language import ROOT
from clients.servers import Server
from support.leash import leashed

from leyden_client import Client
from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile

__all__ = ["BASE", "LIGHTNING", "PageServer", "page_server"]

BASE, LIGHTNING = "leyden-tiny-base", "leyden-tiny-lightning-4step"

SERVE = (sys.executable, "-m", "leyden_cli", "serve")
START_TIMEOUT_S = 300.0
"""It ends a hang."""


@dataclass(frozen=True)
class PageServer:
    """A server that runs."""

    url: str
    """Of its page."""
    key: str
    """An API key that it knows."""
    server: Server
    """Its request log."""

    def client(self) -> Client:
        """Return a client of its gRPC API."""
        return Client(self.server.address, api_key=self.key)


@contextmanager
def page_server(folder: Path) -> Iterator[PageServer]:
    """Run a server of two models, with keys, that steps two rows at once: a line soon forms."""
    key = new_key()
    KeyFile(keys=(KeyEntry.of(key, "page"),)).write(folder / "keys.yaml")
    config = {
        "in_process": True,
        "models": [LIGHTNING, BASE],
        "denoiser": {"max_batch_rows": 2, "measure_batch_rows": False},
        "gateway": {
            "port": 0,
            "metrics_port": None,
            "web_port": 0,
            "api_keys": str(folder / "keys.yaml"),
        },
    }
    (folder / "server.yaml").write_text(yaml.safe_dump(config), "utf-8")
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            leashed([*SERVE, "--config", str(folder / "server.yaml")]),
            stdout=subprocess.PIPE,
            stderr=stream,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_python_path())},
        )
    try:
        address = _address(process, log)
        found = re.search(r"web: (http://\S+/)", log.read_text("utf-8"))
        assert found is not None, log.read_text("utf-8")
        yield PageServer(found[1], key, Server(address, log, process))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _python_path() -> list[str]:
    return [str(ROOT / part) for part in ("tests", "server", "client/python")]


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    assert process.stdout is not None
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    read = process.stdout.readline
    threading.Thread(target=lambda: lines.put(read()), daemon=True).start()
    ready = lines.get(timeout=START_TIMEOUT_S).decode().strip()
    assert ready.startswith("ready: grpc"), log.read_text("utf-8")
    return ready.split()[-1]
