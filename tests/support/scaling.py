"""A `leyden serve` whose stages scale, the processes that it has for each, and load on it."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil
from cli.conftest import Command
from support.running_server import eventually

from leyden_client import Client, Generation
from leyden_client.options import GenerateOptions

__all__ = ["OWN_CONNECTION", "Load", "ScalingServer"]

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


@dataclass
class ScalingServer:
    """A server, seen from outside: its API and its processes."""

    command: Command
    address: str
    client: Client
    _used_s: dict[int, float] = field(default_factory=dict)

    def cpu_s(self) -> float:
        """Return the CPU time, in seconds, of all of its processes, those that ended included."""
        for process in self.command.descendants():
            with suppress(psutil.Error):  # it ended while we looked
                times = process.cpu_times()
                self._used_s[process.pid] = times.user + times.system
        return sum(self._used_s.values())

    def eventually(self, condition: Callable[[], object], cpu_s: float) -> None:
        """Look twice a second until `condition` holds, while it uses up so much CPU time.

        Looking goes through every process of the machine, and is work itself.
        """
        eventually(condition, cpu_s, clock=self.cpu_s, every_s=0.5)

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """Return the replicas with their stages, those that start or drain included.

        A stage's name is its deployment's, or of a Denoiser, which every model has one of,
        its application's.
        """
        found = []
        for process in self.command.descendants():
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue  # it ended while we looked
            match = re.search(r"ServeReplica:([\w-]+):(TextEncoder|Denoiser|Vae)", title)
            if match is not None:
                found.append((match[1] if match[2] == "Denoiser" else match[2], process))
        return found

    def replicas(self) -> Counter[str]:
        """Return how many replicas each stage has; none is left out."""
        return Counter(stage for stage, _ in self.processes())

    @contextmanager
    def load(self, clients: int, options: GenerateOptions) -> Iterator["Load"]:
        """Let so many clients each ask for an image, wait for it, and ask again."""
        load = Load(self, clients, options)
        threads = [threading.Thread(target=load.ask, args=(n,)) for n in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load.clients = 0
            for thread in threads:
                thread.join()


@dataclass
class Load:
    """What clients ask for, and what they got."""

    server: ScalingServer
    clients: int
    """Those from this number on leave after their present image."""
    options: GenerateOptions
    done: list[Generation] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def ask(self, number: int) -> None:
        """Be one of the clients."""
        while number < self.clients:
            try:
                # A client of its own each time: a connection stays with its Gateway.
                with Client(self.server.address, channel_options=OWN_CONNECTION) as client:
                    generation = client.generate_image("a lake", timeout_s=600, **self.options)
            except Exception as error:  # noqa: BLE001 - the test shows every one
                self.errors.append(error)
                return
            self.done.append(generation)
