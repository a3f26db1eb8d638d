"""Machines that are network namespaces of this one, on a bridge; each one's link can be cut."""

import os
import subprocess
from types import TracebackType
from typing import Self

__all__ = ["Machine", "Network"]

SUBNET = "10.213.77"
"""Of the bridge; this machine is its host 1."""


class Network:
    """A bridge of this machine, and the machines behind it. Leaving it removes all of them."""

    def __init__(self) -> None:
        self._bridge = f"lynbr{os.getpid() % 100000}"
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> Self:
        _ip("link", "add", "name", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.here}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for machine in self.machines.values():
            machine.remove()
        _ip("link", "delete", self._bridge)

    @property
    def here(self) -> str:
        """The address of this machine, as the others see it."""
        return f"{SUBNET}.1"

    def add(self, name: str) -> "Machine":
        """Add a machine; its link is up."""
        machine = Machine(name, len(self.machines) + 11, self._bridge)
        self.machines[name] = machine
        machine.create()
        return machine


class Machine:
    """A network namespace with one link to the bridge."""

    def __init__(self, name: str, number: int, bridge: str) -> None:
        self.name = name
        self.address = f"{SUBNET}.{number}"
        self.namespace = f"{bridge}-{number}"
        self._bridge = bridge
        self._link = f"lyn{os.getpid() % 100000}-{number}"  # at most 15 characters

    def create(self) -> None:
        """Make it."""
        _ip("netns", "add", self.namespace)
        _ip("link", "add", self._link, "type", "veth", "peer", "eth0", "netns", self.namespace)
        _ip("link", "set", self._link, "master", self._bridge, "up")
        inside = ("-n", self.namespace)
        _ip(*inside, "address", "add", f"{self.address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")

    def cut(self) -> None:
        """Cut it off: nothing comes or goes, and nobody is told."""
        _ip("link", "set", self._link, "nomaster")

    def rejoin(self) -> None:
        """End the cut."""
        _ip("link", "set", self._link, "master", self._bridge)

    def remove(self) -> None:
        """Remove it; what ran in it has ended."""
        _ip("netns", "delete", self.namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
