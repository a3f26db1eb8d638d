import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from support.leash import leashed
from support.patience import PATIENCE_S

MARK = "LEYDEN_TEST_MARK"


class Command:
    """A `leyden` command in a session of its own, and every process that it starts."""

    def __init__(self, arguments: Sequence[str], directory: Path) -> None:
        self._mark = str(uuid.uuid4())
        self._stderr = (directory / f"stderr-{self._mark}").open("w+")
        self.process = subprocess.Popen(
            # By SIGTERM: it has Ray to stop.
            leashed([sys.executable, "-m", "leyden_cli", *arguments], signal.SIGTERM),
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=directory,
            start_new_session=True,
            env={**os.environ, MARK: self._mark},
        )

    @property
    def stderr(self) -> str:
        """What it has written there so far."""
        self._stderr.seek(0)
        return self._stderr.read()

    def stdout_line(self) -> str:
        """Wait for the next line; empty at the end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def interrupt(self) -> None:
        """Send what a Ctrl-C in a terminal sends: SIGINT to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        """Wait for its end and close its streams."""
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._stderr.close()

    def descendants(self) -> list[psutil.Process]:
        """Return what it started that still lives, wherever that has gone: marked by a variable."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK) == self._mark:
                    found.append(process)
            except psutil.Error:
                continue  # it ended while we looked
        return found


@contextmanager
def running(arguments: Sequence[str], directory: Path) -> Iterator[Command]:
    command = Command(arguments, directory)
    try:
        yield command
    finally:
        for process in command.descendants():
            process.kill()
        command.close()


def leyden(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a `leyden` command to its end."""
    command = [sys.executable, "-m", "leyden_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@dataclass(frozen=True)
class OtherRay:
    """A Ray of two CPUs that belongs to somebody else; whoever uses it leaves it as it was."""

    address: str
    dashboard: str
    """Where `serve deploy` posts to."""


@pytest.fixture(scope="module")  # or it would cost the later tests a fifth of a core
def other_ray() -> Iterator[OtherRay]:
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_worker_niceness", "0")  # as all other processes of the tests
        cluster = Cluster(
            initialize_head=True,
            connect=False,
            head_node_args={"num_cpus": 2, "dashboard_port": free_port()},
        )
    yield OtherRay(cluster.address, f"http://{cluster.head_node.webui_url}")
    if ray.is_initialized() and ray.get_runtime_context().gcs_address == cluster.address:
        ray.shutdown()  # or the cluster would not let go of its head
    cluster.shutdown()


@pytest.fixture(scope="module")
def ray_address(other_ray: OtherRay) -> str:
    """Where that Ray is joined."""
    return other_ray.address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
