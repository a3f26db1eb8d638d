"""One POSIX shared memory segment of a client's, opened with care and copied from and to.

The client has the segment too, and may shrink it at any moment. Whoever maps it then dies of
SIGBUS at the next touch. So nothing here maps it: bytes are copied by `pread` and `pwrite`, which
say how many there were.
"""

import os
import re
import stat
from pathlib import Path

from leyden_server.errors import InvalidRequestError
from leyden_server.gateway.parsing import invalid

__all__ = ["RESERVED", "Segment"]

SHARED_MEMORY = Path("/dev/shm")

KEY = re.compile(r"/[A-Za-z0-9_.-]{1,255}")

RESERVED = {
    "plasma": "Ray's object store",
    "ray": "Ray",
    "sem.": "semaphores, Ray's among them",
    "torch_": "torch",
    "nccl-": "NCCL",
    "__KMP": "the OpenMP runtime",
    "leyden.": "Leyden",
}
"""How names begin that are no client's, and whose they are. Leyden makes no segment today."""

FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK, since the opening of a pipe would wait for its other end."""


class Segment:
    """An open segment; it stays the same file when its name is removed or given anew."""

    def __init__(self, key: str, folder: Path = SHARED_MEMORY) -> None:
        """Open the segment that `key` names, "/" and a file name, in `folder`.

        Raises:
            InvalidRequestError: the key is none, or names no segment that a client may share.

        """
        _require_key(key)
        self.key = key
        # The key has one slash, its first, so nothing but the last part can be a link.
        try:
            self._file = os.open(folder / key[1:], FLAGS)
        except OSError as error:
            raise invalid("key", f"{key!r} cannot be opened: {error.strerror}") from error
        try:
            self._require_ours()
        except InvalidRequestError:
            self.close()
            raise

    def _require_ours(self) -> None:
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise invalid("key", f"{self.key!r} is no shared memory segment: not a regular file")
        if status.st_uid != os.geteuid():
            raise invalid(
                "key",
                f"{self.key!r} belongs to user {status.st_uid}; a segment must belong to the "
                f"server's own, {os.geteuid()}",
            )
        if status.st_nlink > 1:
            raise invalid("key", f"{self.key!r} has several names; a segment must have one alone")

    @property
    def size_bytes(self) -> int:
        """How large it is now."""
        return os.fstat(self._file).st_size

    def require(self, offset: int, byte_size: int, field: str) -> None:
        """See that so many bytes are there from `offset` on, now.

        Raises:
            InvalidRequestError: of `field`; they are not.

        """
        # Python's integers do not wrap, so the sum is the sum.
        if offset + byte_size > self.size_bytes:
            raise invalid(
                field,
                f"offset {offset} and {byte_size} bytes reach beyond {self.key!r}, which has "
                f"{self.size_bytes} bytes",
            )

    def read(self, offset: int, byte_size: int, field: str) -> bytes:
        """Return a copy of its bytes. Raises as `require` does."""
        self.require(offset, byte_size, field)
        found = bytearray()
        while len(found) < byte_size:
            some = os.pread(self._file, byte_size - len(found), offset + len(found))
            if not some:  # It shrank meanwhile.
                self.require(offset, byte_size, field)
            found += some
        return bytes(found)

    def write(self, offset: int, data: bytes, field: str) -> None:
        """Copy bytes into it. Raises as `require` does.

        A segment that shrinks between the look at its size and the copying grows again to what
        its client had promised; nobody else is touched.
        """
        self.require(offset, len(data), field)
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:], offset + written)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def _require_key(key: str) -> None:
    if not KEY.fullmatch(key):
        raise invalid("key", f"must be '/' and 1 to 255 of A-Z a-z 0-9 _ . -; got {key[:100]!r}")
    for beginning, owner in RESERVED.items():
        if key[1:].startswith(beginning):
            raise invalid(
                "key", f"names that begin with '/{beginning}' are kept for {owner}; got {key!r}"
            )
