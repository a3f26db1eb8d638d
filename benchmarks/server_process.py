"""A server in processes of its own: `leyden serve`, of this checkout or of another one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml

from benchmarks.conditions import REPOSITORY

__all__ = ["ServerProcess"]

MARK = "LEYDEN_BENCHMARK_MARK"
"""Environment variable by which the server's processes are known, Ray's among them."""

STOP_TIMEOUT_S = 60.0


class ServerProcess:
    """Runs a command that prints `ready: grpc ADDRESS`; a context manager for as long."""

    def __init__(self, command: Sequence[str], *, checkout: Path = REPOSITORY) -> None:
        """`command` is run by this Python, as `python …`, on the packages of `checkout`."""
        self.address = ""
        self.start_to_ready_s = 0.0
        self._command = [sys.executable, *command]
        self._checkout = checkout
        self._mark = str(uuid.uuid4())
        self._folder = tempfile.TemporaryDirectory(prefix="leyden-benchmark-")
        self._log = Path(self._folder.name) / "stderr.txt"

    @classmethod
    def leyden(
        cls,
        *models: str,
        repository: Path | None = None,
        config: Mapping[str, Any] | None = None,
        in_process: bool = False,
        checkout: Path = REPOSITORY,
        module: str = "",
    ) -> Self:
        """Return `leyden serve` with these models and, where given, settings of its config.

        `module` is run in place of the command's.
        """
        # Before there was leyden_cli, leyden_client had the command.
        has_cli = (checkout / "client" / "python" / "leyden_cli").exists()
        module = module or ("leyden_cli" if has_cli else "leyden_client")
        command = ["-m", module, "serve", "--port", "0"]
        if in_process:
            command.append("--in-process")
        for model in models:
            command += ["--model", model]
        if repository is not None:
            command += ["--model-repository", str(repository)]
        process = cls(command, checkout=checkout)
        if config:
            file = Path(process._folder.name) / "leyden.yaml"
            file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
            process._command += ["--config", str(file)]
        return process

    def __enter__(self) -> Self:
        """Start it and wait until it is ready.

        Raises:
            RuntimeError: it ended without getting ready; the end of its stderr says why.

        """
        started_s = time.perf_counter()
        with self._log.open("w", encoding="utf-8") as stderr:
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=self._checkout,
                env={**os.environ, MARK: self._mark, "PYTHONPATH": _python_path(self._checkout)},
                # Ctrl-C in the terminal is for the benchmark, which then stops the server.
                start_new_session=True,
            )
        try:
            self.address = self._read_address()
        except BaseException:
            self._stop()
            raise
        self.start_to_ready_s = time.perf_counter() - started_s
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def pss_bytes(self) -> int:
        """Return the proportional set size of all of its processes together."""
        return sum(_pss_bytes(process) for process in self.processes())

    def cpu_s(self) -> float:
        """Return the CPU time, in seconds, that its processes have used so far."""
        total = 0.0
        for process in self.processes():
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue  # gone meanwhile
            total += times.user + times.system
        return total

    def _read_address(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("ready: grpc "):
            said = self._log.read_text(encoding="utf-8").strip().splitlines()[-5:]
            raise RuntimeError(f"the server did not start: {' / '.join(said)}")
        return line.split()[-1]

    def processes(self) -> list[psutil.Process]:
        """Return its processes, Ray's among them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self._mark:
                    found.append(process)
            except psutil.Error:
                continue  # not ours to read, or gone
        return found

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            for process in self.processes():
                process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._folder.cleanup()


def _python_path(checkout: Path) -> str:
    """Return what makes Python import a checkout's packages, whatever is installed."""
    folders = (checkout / "client" / "python", checkout / "server", checkout)
    return os.pathsep.join(map(str, folders))


def _pss_bytes(process: psutil.Process) -> int:
    try:
        pss: int = process.memory_full_info().pss
    except psutil.Error:
        return 0  # gone meanwhile
    return pss
