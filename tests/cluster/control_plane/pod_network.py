"""Addresses for pods that really run: a network namespace each, on a bridge of this machine.

Nothing there can reach past the bridge: it has no address of the outside and forwards nothing.
"""

import ipaddress
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

__all__ = ["PodNetwork", "PodPlace"]

_BRIDGE = f"lp{os.getpid()}"
"""Of this run alone; a name may have 15 characters."""
_NETNS = Path("/etc/netns")


class PodPlace:
    """Where one pod runs: `command` starts a program there."""

    def __init__(self, number: int, address: str, prefix: int) -> None:
        self.address = address
        self._name = f"leyden-{_BRIDGE}-{number}"
        self._outer = f"{_BRIDGE}v{number}"
        self._etc = _NETNS / self._name
        _ip("netns", "add", self._name)
        _ip("link", "add", self._outer, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        _ip("link", "set", self._outer, "master", _BRIDGE, "up")
        _ip("-n", self._name, "addr", "add", f"{address}/{prefix}", "dev", "eth0")
        _ip("-n", self._name, "link", "set", "eth0", "up")
        _ip("-n", self._name, "link", "set", "lo", "up")
        # Ray finds its own address by asking which one would be used to reach the outside.
        _ip("-n", self._name, "route", "add", "default", "dev", "eth0")
        self._etc.mkdir(parents=True, exist_ok=True)
        self._removed = False
        self._changing = threading.Lock()
        self.resolve({})
        (self._etc / "resolv.conf").write_text("", encoding="utf-8")

    @property
    def command(self) -> tuple[str, ...]:
        """Return what goes before a command to have it run here."""
        return ("ip", "netns", "exec", self._name)

    def resolve(self, names: Mapping[str, str]) -> None:
        """Let programs here find addresses by these names, and no others."""
        lines = ["127.0.0.1 localhost", *(f"{to} {name}" for name, to in sorted(names.items()))]
        # Written in place: what runs here has this very file mounted as /etc/hosts.
        with self._changing:
            if not self._removed:
                (self._etc / "hosts").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def remove(self) -> None:
        """Take it away, once; what runs there has ended."""
        with self._changing:
            if self._removed:
                return
            self._removed = True
        subprocess.run(("ip", "netns", "del", self._name), check=False)
        subprocess.run(("ip", "link", "del", self._outer), check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self._etc, ignore_errors=True)


class PodNetwork:
    """The bridge, and the places on it."""

    def __init__(self, network: str) -> None:
        self._network = ipaddress.ip_network(network)
        self._addresses = self._network.hosts()
        self._numbers = itertools.count(1)
        self._places: list[PodPlace] = []
        _ip("link", "add", _BRIDGE, "type", "bridge")
        try:
            own = f"{next(self._addresses)}/{self._network.prefixlen}"
            _ip("addr", "add", own, "dev", _BRIDGE)
            _ip("link", "set", _BRIDGE, "up")
        except BaseException:
            self.remove()
            raise

    def place(self) -> PodPlace:
        """Make a place for one more pod."""
        address = str(next(self._addresses))
        made = PodPlace(next(self._numbers), address, self._network.prefixlen)
        self._places.append(made)
        return made

    def remove(self) -> None:
        """Take away all of it."""
        while self._places:
            self._places.pop().remove()
        subprocess.run(("ip", "link", "del", _BRIDGE), check=False)


def _ip(*arguments: str) -> None:
    result = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")
