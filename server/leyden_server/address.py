"""Holds the gRPC address for the server's lifetime.

The Gateways share a port through SO_REUSEPORT, and the kernel would let a second server
share it too, in silence. So whoever starts the server takes a lock, checks that nobody
listens, and keeps the port with a socket of its own that is bound but never listens.

Where nobody starts it but Ray Serve, the Gateways hold the port themselves, and share the
lock: it is theirs who name the same `sharer`.
"""

import errno
import fcntl
import ipaddress
import os
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from leyden_server.errors import AddressInUseError
from leyden_server.port_holder import describe_listener, describe_process

__all__ = ["ReservedAddress", "reaches_beyond", "written_address"]

OF_THE_GATEWAY = "--host and --port (gateway.host, gateway.port)"

SHARE_TIMEOUT_S = 5.0
"""How long a sharer tries again: another one that starts has the lock to itself for a moment."""


class ReservedAddress:
    """An address that is ours until it is closed."""

    def __init__(
        self, host: str, port: int, sharer: str = "", *, settings: str = OF_THE_GATEWAY
    ) -> None:
        """Take the address; port 0 takes a free one.

        Who names the same `sharer` has it too; without one it is ours alone. `settings` are
        those by which another can be had, for the error.

        Raises:
            AddressInUseError: another process has it, or the host is not of this machine.

        """
        self.host = _written_host(host)
        self._lock: int | None = None
        family = socket.AF_INET6 if _is_ipv6(host) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            is_shared = port != 0 and self._take_lock(port, sharer)
            if port != 0 and not is_shared:
                _check_free(family, host.strip("[]"), port)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind((host.strip("[]"), port))
        except (OSError, UnicodeError) as error:
            self.close()
            raise AddressInUseError(
                f"cannot listen on {host}:{port}: {_why(error, host, port)}; choose another with "
                f"{settings}"
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

    def _take_lock(self, port: int, sharer: str) -> bool:
        """Lock the port's file; return whether others who name the same sharer have it too.

        Raises:
            _TakenError: another server has it.

        """
        self._lock = _open_lock_file(port)
        if self._lock is None:
            return False  # an older server of another user's; the bind will tell of it
        deadline = time.monotonic() + (SHARE_TIMEOUT_S if sharer else 0.0)
        while True:
            try:
                return _lock(self._lock, sharer)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise _TakenError(errno.EADDRINUSE, _read(self._lock)[0]) from error
                time.sleep(0.02)  # flock has no timeout of its own


class _TakenError(OSError):
    """Another server has the port's lock; `strerror` is its process id, as it wrote it."""


def written_address(host: str, port: int) -> str:
    """Return host and port as gRPC takes them: an IPv6 host in brackets."""
    return f"{_written_host(host)}:{port}"


def reaches_beyond(host: str) -> bool:
    """Return whether other machines reach who listens at a host; a name's address may change."""
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        # With a colon it is no host at all, which whoever listens there says.
        return host != "localhost" and ":" not in host


def _written_host(host: str) -> str:
    return f"[{host}]" if _is_ipv6(host) and not host.startswith("[") else host


def _open_lock_file(port: int) -> int | None:
    path = Path(tempfile.gettempdir()) / f"leyden-port-{port}.lock"
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except PermissionError:
        # Another user's. Who may read a file may also lock it.
        try:
            return os.open(path, os.O_RDONLY | flags)
        except PermissionError:
            return None


def _lock(lock: int, sharer: str) -> bool:
    """Take the lock, or share it; raises BlockingIOError where neither is possible now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if sharer and _read(lock)[1] == sharer:
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
        raise
    if fcntl.fcntl(lock, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} {sharer}".encode(), 0)
    if sharer:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return False


def _read(lock: int) -> tuple[str, str]:
    """Return the process that took the lock, and the sharer that it named."""
    process, _, sharer = os.pread(lock, 256, 0).decode(errors="replace").partition(" ")
    return process, sharer


def _why(error: OSError | UnicodeError, host: str, port: int) -> str:
    if isinstance(error, _TakenError):
        process = describe_process(error.strerror or "")
        return f"a Leyden server has it{process and f', {process}'}"
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"{host!r} is neither an IP address nor a host name that can be looked up"
    if error.errno == errno.EADDRINUSE:
        return describe_listener(port) or str(error.strerror)
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine"
    return str(error.strerror)


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
