"""The servers that clients are pointed at: real ones, each a `leyden serve --in-process`."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from clients.cases import Security
from clients.languages.language import ROOT
from support.certificates import Authority
from support.leash import leashed
from support.patience import PATIENCE_S

from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile

__all__ = ["MODELS", "NOISE", "Certificates", "Server", "ServerError", "servers"]

LIGHTNING, BASE, NOISE = "leyden-tiny-lightning-4step", "leyden-tiny-base", "noise"
SPARE, BROKEN = "spare", "broken"
"""Models of the repository that no server loads by itself; the second one cannot be loaded."""
MODELS = (LIGHTNING, BASE, NOISE)
"""The models of the open server. The last one has random weights, so that its images are noise,
which no PNG compresses: 1216 x 1216 pixels are over 3 MiB."""
START_TIMEOUT_S = PATIENCE_S
LOG_TIMEOUT_S = PATIENCE_S
"""For a line of the request log, which comes at once: it ends a hang."""


class ServerError(Exception):
    """A server did not start; the text has what it wrote."""


@dataclass(frozen=True)
class Certificates:
    """Files for TLS, and the keys that the servers with keys know."""

    folder: Path
    keys: Mapping[str, str] = field(
        default_factory=lambda: {name: new_key() for name in ("plain", "spent", "unknown")}
    )
    """The API keys by their names in the cases. `spent` may ask for one image in a minute, and
    has done so; `unknown` is in no server's file."""

    def write(self) -> None:
        """Write the files."""
        ours = Authority()
        (self.folder / "ours.pem").write_bytes(ours.certificate)
        (self.folder / "another.pem").write_bytes(Authority("another").certificate)
        ours.issue().write(self.folder / "server.pem", self.folder / "server.key")
        ours.issue("client").write(self.folder / "client.pem", self.folder / "client.key")
        plain = KeyEntry.of(self.keys["plain"], "plain", models=[LIGHTNING], most_priority=4)
        spent = KeyEntry.of(self.keys["spent"], "spent", images_per_minute=1)
        KeyFile(keys=(plain, spent)).write(self.folder / "keys.yaml")

    def file(self, name: str) -> Path:
        """Return where a file lies."""
        return self.folder / name

    def asked(self, security: Security) -> dict[str, Any]:
        """Return what an ask says of security."""
        asked: dict[str, Any] = {}
        if security.ca:
            asked["tls"] = {"ca": str(self.folder / f"{security.ca}.pem")}
            if security.certificate:
                asked["tls"]["certificate"] = str(self.folder / "client.pem")
                asked["tls"]["private_key"] = str(self.folder / "client.key")
        if security.key:
            asked["api_key"] = self.keys[security.key]
        return asked


class Server:
    """A server that runs, and its request log."""

    def __init__(self, address: str, log: Path, process: "subprocess.Popen[bytes]") -> None:
        """Take where it listens, and the file of its stderr."""
        self.address = address
        self._log = log
        self._process = process

    def begin_to_drain(self) -> None:
        """Ask it to end, which it does once what runs has ended."""
        self._process.send_signal(signal.SIGTERM)

    def lines(self, request_id: str) -> list[dict[str, Any]]:
        """Return the log's lines on a generation."""
        lines = []
        for line in self._log.read_text("utf-8", "replace").splitlines():
            if request_id in line and line.startswith("{"):
                entry = json.loads(line)
                if entry.get("request_id") == request_id:
                    lines.append(entry)
        return lines

    def ended(self, request_id: str) -> dict[str, Any]:
        """Return the line on a generation's end, once it is there.

        Raises:
            TimeoutError: it did not come.

        """
        deadline_s = time.monotonic() + LOG_TIMEOUT_S
        while time.monotonic() < deadline_s:
            ends = [line for line in self.lines(request_id) if "GenerateImage" in line["method"]]
            if ends:
                return ends[-1]
            time.sleep(0.05)
        raise TimeoutError(f"{request_id} did not end within {LOG_TIMEOUT_S:g} s")


def _configs(
    certificates: Certificates, models: Path, trace_endpoint: str
) -> dict[str, dict[str, Any]]:
    files = certificates.folder
    tls = {
        "tls_certificate": str(files / "server.pem"),
        "tls_private_key": str(files / "server.key"),
        "api_keys": str(files / "keys.yaml"),
    }
    # A line that is soon full; and one large image is more than is kept.
    short = {"max_waiting_images": 8, "max_kept_bytes": 2 * 2**20, "write_timeout_s": 3600}
    own = {"model_repository": [str(models)], "models": list(MODELS)}
    # Only what comes with a trace of its own is recorded.
    traced = {"trace_endpoint": trace_endpoint, "trace_sample_ratio": 0}
    return {
        "open": {**own, "gateway": {**short, **traced}},
        "draining": {**own, "gateway": {**short, "drain_timeout_s": 3600}},
        "tls": {"models": [LIGHTNING], "gateway": tls},
        "mutual": {
            "models": [LIGHTNING],
            "gateway": {**tls, "tls_client_ca": str(files / "ours.pem")},
        },
    }


@contextmanager
def servers(
    folder: Path, certificates: Certificates, trace_endpoint: str, names: Collection[str]
) -> Iterator[Callable[[], dict[str, Server]]]:
    """Begin to run the servers of these names; files go to `folder`, traces to `trace_endpoint`.

    What it gives waits for them, and returns them by their names in the cases. It raises
    `ServerError`.
    """
    certificates.write()
    models = folder / "models"
    _write_noise(models / NOISE)
    for name in (SPARE, BROKEN):
        shutil.copytree(models / NOISE, models / name)
    (models / BROKEN / "unet" / "config.json").write_text("{}", "utf-8")
    with ExitStack() as stack:
        starting = {
            name: stack.enter_context(_starting(name, config, folder))
            for name, config in _configs(certificates, models, trace_endpoint).items()
            if name in names
        }
        yield lambda: {name: _started(name, *what) for name, what in starting.items()}


def _write_noise(folder: Path) -> None:
    # In a process of its own, since torch is nothing that the harness needs.
    script = (
        "from pathlib import Path\n"
        "from support.random_sdxl import write_random_sdxl\n"
        "from leyden_server.model_repository.repository import SHIPPED_MODELS\n"
        f"folder = Path({str(folder)!r})\n"
        f"write_random_sdxl(folder, tokenizer_from=SHIPPED_MODELS / {BASE!r}, seed=3)\n"
        "(folder / 'model.yaml').write_text('size: {max_px: 2048}\\n')\n"
    )
    folder.parent.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_python_path())},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerError(f"the model of noise was not written:\n{done.stderr}")


def _python_path() -> list[str]:
    return [str(ROOT / part) for part in ("tests", "server", "client/python")]


@contextmanager
def _starting(
    name: str, config: dict[str, Any], folder: Path
) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    path, log_path = folder / f"{name}.yaml", folder / f"{name}.log"
    gateway = {"port": 0, "metrics_port": None, **config["gateway"]}
    whole = {
        **config,
        "in_process": True,
        "gateway": gateway,
        # A file is the same to the byte where nothing is computed together with another image.
        "text_encoder": {"max_batch_prompts": 1},
        "denoiser": {"measure_batch_rows": False, "max_batch_rows": 1},
        "vae": {"max_batch_images": 1},
    }
    path.write_text(yaml.safe_dump(whole), "utf-8")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            leashed([sys.executable, "-m", "leyden_cli", "serve", "--config", str(path)]),
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_python_path())},
        )
    try:
        yield process, log_path
    finally:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _started(name: str, process: "subprocess.Popen[bytes]", log: Path) -> Server:
    assert process.stdout is not None
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    read = process.stdout.readline
    threading.Thread(target=lambda: lines.put(read()), daemon=True).start()
    try:
        ready = lines.get(timeout=START_TIMEOUT_S).decode().strip()
    except queue.Empty:
        ready = ""
    if not ready.startswith("ready: grpc"):
        raise ServerError(f"the server {name!r} did not start:\n{log.read_text('utf-8')}")
    return Server(ready.split()[-1], log, process)
