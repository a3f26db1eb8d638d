"""Says which process has a port, as far as /proc lets us see it.

Of another user's process the kernel tells the user, and the command where that is not hidden;
where there is no /proc (macOS) nothing is known.
"""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

__all__ = ["describe_listener", "describe_process"]

PROC = Path("/proc")
LISTENING = "0A"
MAX_COMMAND_CHARS = 120


def describe_listener(port: int) -> str:
    """Return in words who listens on a TCP port of this machine; empty where that is unknown."""
    for inode, uid in _listening_sockets(port):
        process = _process_with(f"socket:[{inode}]")
        return f"{describe_process(process) or f'a process{_of_user(uid)}'} listens there"
    return ""


def describe_process(process: str) -> str:
    """Return a process by its id, command, and user where that is not ours.

    Empty where there is no such process.
    """
    if not process.isdecimal():
        return ""
    try:
        uid = (PROC / process).stat().st_uid
        command = (PROC / process / "cmdline").read_bytes()
    except OSError:
        return ""
    words = command.decode(errors="replace").replace("\0", " ").strip()
    printable = "".join(letter if letter.isprintable() else "?" for letter in words)
    shown = f" ({printable[:MAX_COMMAND_CHARS]})" if printable else ""
    return f"process {process}{shown}{_of_user(uid)}"


def _of_user(uid: int) -> str:
    if uid == os.geteuid():
        return ""
    try:
        return f" of user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f" of user {uid}"


def _listening_sockets(port: int) -> Iterator[tuple[str, int]]:
    """Yield inode and user of each socket that listens on a port, of IPv4 and IPv6."""
    for table in ("tcp", "tcp6"):
        try:
            rows = (PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, _, state, _, _, _, uid, _, inode, *_ = row.split()
            if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                yield inode, int(uid)


def _process_with(file: str) -> str:
    """Return the id of a process that has a file open; empty where we see none."""
    for process in PROC.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if any(str(fd.readlink()) == file for fd in (process / "fd").iterdir()):
                return process.name
        except OSError:
            continue  # another user's, or it has just ended
    return ""
