"""Holds the gRPC address for the server's lifetime.

The Gateways share a port through SO_REUSEPORT, and the kernel would let a second server
share it too, in silence. So the launcher takes a lock, checks that nobody listens, and
keeps the port with a socket of its own that is bound but never listens.
"""

import fcntl
import ipaddress
import os
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from leyden_server.errors import AddressInUseError

__all__ = ["ReservedAddress"]


class ReservedAddress:
    """An address that is ours until it is closed."""

    def __init__(self, host: str, port: int) -> None:
        """Take the address; port 0 takes a free one.

        Raises:
            AddressInUseError: another process has it, or the host is not of this machine.

        """
        family = socket.AF_INET6 if _is_ipv6(host) else socket.AF_INET
        self.host = f"[{host}]" if _is_ipv6(host) and not host.startswith("[") else host
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._lock: int | None = None
        try:
            if port != 0:
                self._take_lock(port)
                _check_free(family, host.strip("[]"), port)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind((host.strip("[]"), port))
        except OSError as error:
            self.close()
            raise AddressInUseError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with "
                "--host and --port"
            ) from error
        self.port: int = self._socket.getsockname()[1]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the address back."""
        self._socket.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self, port: int) -> None:
        path = Path(tempfile.gettempdir()) / f"leyden-port-{port}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            lock = os.open(path, flags, 0o600)
        except PermissionError:
            return  # another user's file; whether the port is free the bind will tell
        self._lock = lock
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _check_free(family: socket.AddressFamily, host: str, port: int) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of a server that has just ended may linger; a listener is what matters.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).version == 6
    except ValueError:
        return False
