"""A Ray cluster whose nodes are machines of a `Network`, each started again where it ends."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from cluster.nodes.network import Machine, Network
from support.patience import PATIENCE_S

from leyden_server.controller.ray_environment import PATIENCE

__all__ = ["GCS_PORT", "Cluster", "Node"]

GCS_PORT = 6379
DASHBOARD_PORT = 8265

OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's least; the embedded model's tensors are small."""

HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "4",
}
"""After 24 s of silence a node is given up; by Ray's defaults (2.60) after 65."""

# A machine's own /tmp, /dev/shm, host name and processes, as a pod has them; bash, as the first
# process, takes the orphans.
AS_A_MACHINE = """
hostname "$1" && mount --bind "$2" /tmp && mount -t tmpfs -o size=256m tmpfs /dev/shm || exit 1
shift 2
"$@" &
wait $!
"""


@dataclass
class Node:
    """A raylet and all that it starts, in a machine of its own."""

    machine: Machine
    command: list[str]
    environment: dict[str, str]
    folder: Path
    starts: int = 0
    is_wanted: bool = True
    process: "subprocess.Popen[bytes] | None" = None
    keeper: threading.Thread | None = None
    held: threading.Event = field(default_factory=threading.Event)
    """Cleared while it is not to be started again."""

    def start(self) -> None:
        """Start it, and again whenever it ends."""
        self.held.set()
        self.keeper = threading.Thread(target=self._keep, name=self.machine.name, daemon=True)
        self.keeper.start()

    def kill(self, *, stays_down: bool = False) -> None:
        """End every process of it at once, as a machine that loses its power."""
        if stays_down:
            self.held.clear()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)

    def run(self, *command: str, environment: Mapping[str, str]) -> str:
        """Run a command in the machine, as a hook of a pod runs in it; return what it says."""
        assert self.process is not None
        (first,) = psutil.Process(self.process.pid).children()
        done = subprocess.run(
            ["nsenter", "--target", str(first.pid), "--all", *command],
            check=True,
            env={**self.environment, **environment},
            timeout=PATIENCE_S,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout.strip()

    def end(self) -> None:
        """End it for good."""
        self.is_wanted = False
        self.held.set()
        self.kill()
        if self.keeper is not None:
            self.keeper.join()

    def _keep(self) -> None:
        own_tmp = self.folder / self.machine.name
        while self.is_wanted:
            self.starts += 1
            tmp = own_tmp / f"tmp-{self.starts}"
            tmp.mkdir(parents=True)
            with (own_tmp / f"output-{self.starts}").open("wb") as output:
                self.process = subprocess.Popen(
                    [
                        *("ip", "netns", "exec", self.machine.namespace),
                        *("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"),
                        *("--mount-proc", "bash", "-c", AS_A_MACHINE, "bash"),
                        *(self.machine.name, str(tmp), *self.command),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self.environment,
                    start_new_session=True,
                )
                if not self.is_wanted:
                    self.kill()
                self.process.wait()
            self.held.wait()


class Cluster:
    """A head and workers, whose state the head keeps in Redis where `redis` is given."""

    def __init__(self, network: Network, folder: Path, redis: str = "") -> None:
        self._network = network
        self._folder = folder
        self._redis = redis
        self.token = secrets.token_hex(32)
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for node in self.nodes.values():
            node.end()

    @property
    def dashboard(self) -> str:
        """The address that `serve deploy` talks to."""
        return f"http://{self.nodes['head'].machine.address}:{DASHBOARD_PORT}"

    @property
    def environment(self) -> dict[str, str]:
        """What every process has that speaks with this Ray, a client's too."""
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_memory_monitor_refresh_ms": "0",  # others' memory is none of its business
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # as KubeRay sets it
            **HEALTH_CHECKS,
            **PATIENCE,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        if self._redis:
            environment["RAY_external_storage_namespace"] = "leyden"
        return environment

    def add_head(self) -> None:
        """Start the head, which has no place for replicas."""
        environment = {**self.environment, "RAY_REDIS_ADDRESS": self._redis}
        if not self._redis:
            del environment["RAY_REDIS_ADDRESS"]
        options = ["--head", f"--port={GCS_PORT}", "--dashboard-host=0.0.0.0", "--num-cpus=0"]
        self._add("head", options, environment)

    def add_worker(self, name: str, resources: Mapping[str, float], *, num_gpus: int) -> None:
        """Start a worker with custom resources, and with GPUs that it only says it has."""
        head = self.nodes["head"].machine.address
        options = [
            f"--address={head}:{GCS_PORT}",
            "--num-cpus=2",
            f"--num-gpus={num_gpus}",
            f"--resources={json.dumps(dict(resources))}",
        ]
        self._add(name, options, self.environment)

    def _add(self, name: str, options: list[str], environment: dict[str, str]) -> None:
        machine = self._network.add(name)
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            f"--node-ip-address={machine.address}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            "--include-log-monitor=false",
            *options,
        ]
        node = Node(machine, command, environment, self._folder)
        self.nodes[name] = node
        node.start()
