"""A file that one process has locked, for as long as it has it open."""

import fcntl
import os
from pathlib import Path

__all__ = ["lock_file"]


def lock_file(path: Path) -> int | None:
    """Lock a file, which is made where it is not there; None: another process has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
