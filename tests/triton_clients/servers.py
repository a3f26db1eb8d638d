"""The servers that clients are pointed at: Leyden from this checkout, and a real tritonserver."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from triton_clients.environments import Environment

__all__ = ["MODEL", "ServerError", "leyden", "tritonserver"]

MODEL = "leyden-tiny-lightning-4step"
CONFIG = f"""\
models: [{MODEL}]
in_process: true
gateway: {{port: 0, shared_memory: true}}
"""
START_TIMEOUT_S = 300.0
"""Longer than any start on a machine that is busy with other things."""


class ServerError(Exception):
    """A server did not start; the text has what it wrote."""


@contextmanager
def leyden(folder: Path) -> Iterator[str]:
    """Run `leyden serve --in-process`; give its address. Its files go to `folder`."""
    (folder / "leyden.yaml").write_text(CONFIG, "utf-8")
    command = [sys.executable, "-m", "leyden_cli", "serve", "--config", "leyden.yaml"]
    with _running(command, folder, "leyden") as (process, log):
        assert process.stdout is not None
        ready = process.stdout.readline().decode().strip()
        if not ready:
            raise ServerError(f"leyden serve did not start:\n{log.read_text('utf-8')}")
        yield ready.removeprefix("ready: grpc ")


@contextmanager
def tritonserver(environment: Environment, models: Path, folder: Path) -> Iterator[str]:
    """Run the tritonserver of nvidia-pytriton on a model repository; give its address."""
    (site,) = environment.folder.glob("lib/python*/site-packages")
    triton = site / "pytriton" / "tritonserver"
    backends = folder / "backends"
    shutil.copytree(triton / "backends", backends)
    stub = triton / "python_backend_stubs" / site.parent.name.removeprefix("python")
    shutil.copy(stub / "triton_python_backend_stub", backends / "python")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(triton / "bin" / "tritonserver")]
    command += [f"--model-repository={models}", f"--backend-directory={backends}"]
    command += ["--grpc-address=127.0.0.1", f"--grpc-port={port}"]
    command += ["--allow-http=false", "--allow-metrics=false", "--model-control-mode=explicit"]
    command += [f"--load-model={model.name}" for model in sorted(models.iterdir())]
    paths = {
        "LD_LIBRARY_PATH": f"{site / 'nvidia_pytriton.libs'}:{environment.library_folder()}",
        "PATH": f"{environment.folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(site),
    }
    with _running(command, folder, "tritonserver", paths) as (process, log):
        deadline = time.monotonic() + START_TIMEOUT_S
        while "Started GRPCInferenceService" not in log.read_text("utf-8"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"tritonserver did not start:\n{log.read_text('utf-8')}")
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"


@contextmanager
def _running(
    command: Sequence[str],
    folder: Path,
    name: str,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    """Run a server in a session of its own; what it writes is in the file that is given too."""
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    try:
        yield process, path
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
