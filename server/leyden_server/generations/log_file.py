"""A log file that several processes append to, rotated by size, and a reader that keeps up.

Under one lock file (the log's name with `.lock`) each line is written and each rotation made:
who holds it sees the file and its backups (`.1` the newest) as they are. Whoever else moves the
file away, as logrotate does, is noticed at the next line, and a new file is begun.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["LogFile", "LogFollower"]


class LogFile:
    """Appends lines, from one thread of each process."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        """Open the file, with its folder where that is missing.

        Before a line that would make it larger than `max_bytes` it is moved aside; `backups`
        such files are kept.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = self._open()

    def close(self) -> None:
        """Close the file and its lock."""
        os.close(self._file)
        os.close(self._lock)

    def append(self, line: str) -> None:
        """Append a line, whole or not at all.

        A disk that is full costs lines of the log and no request: the process's own log says so.
        """
        data = f"{line}\n".encode()
        try:
            with _locked(self._lock, fcntl.LOCK_EX):
                self._write(data)
        except OSError as error:
            logging.getLogger(__name__).warning("%s: a line is lost: %s", self._path, error)

    def _write(self, data: bytes) -> None:
        if not _is_at(self._file, self._path):
            self._reopen()
        size = os.fstat(self._file).st_size
        if size > 0 and size + len(data) > self._max_bytes:
            self._rotate()
            size = 0
        written = os.write(self._file, data)
        if written < len(data):
            os.ftruncate(self._file, size)
            raise OSError(f"only {written} of {len(data)} bytes fit")

    def _rotate(self) -> None:
        for number in range(self._backups, 1, -1):
            older = _backup(self._path, number - 1)
            if older.exists():
                older.replace(_backup(self._path, number))
        if self._backups > 0:
            self._path.replace(_backup(self._path, 1))
        else:
            self._path.unlink()
        self._reopen()

    def _reopen(self) -> None:
        file = self._open()
        os.close(self._file)
        self._file = file

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


class LogFollower:
    """Reads what is appended to a `LogFile`'s file after now, over its rotations, each line once.

    What is rotated and dropped between two reads is lost: more than the file and all of its
    backups hold.
    """

    def __init__(self, path: Path) -> None:
        """Begin at the end of the file, or at the start of one that is yet to come."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file: BinaryIO | None = None
        if path.exists():
            self._file = path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Close what is open."""
        if self._file is not None:
            self._file.close()
        os.close(self._lock)

    def read(self) -> str:
        """Return the lines that came since the last read; empty where none did."""
        read = b""
        # Nobody writes or rotates meanwhile: what is read is whole lines, and the names of the
        # newer files hold still.
        with ExitStack() as stack, _locked(self._lock, fcntl.LOCK_SH):
            if self._file is not None:
                read += self._file.read()
            for path in self._newer():
                if self._file is not None:
                    stack.callback(self._file.close)
                self._file = path.open("rb")
                read += self._file.read()
        return read.decode(errors="replace")

    def _newer(self) -> list[Path]:
        """Return the files after the one that is open, the oldest first."""
        newest_first = list(self._existing())
        if self._file is None:
            return newest_first[::-1]
        for index, path in enumerate(newest_first):
            if _is_at(self._file.fileno(), path):
                return newest_first[:index][::-1]
        return newest_first[::-1]

    def _existing(self) -> Iterator[Path]:
        if self._path.exists():
            yield self._path
        number = 1
        while (backup := _backup(self._path, number)).exists():
            yield backup
            number += 1


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


@contextmanager
def _locked(lock: int, kind: int) -> Iterator[None]:
    fcntl.flock(lock, kind)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _is_at(file: int, path: Path) -> bool:
    """Tell whether an open file is the one that has the name now."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(file)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
