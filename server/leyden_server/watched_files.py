"""Notices that files have changed, by looking; it works over mounts that tell nobody."""

from collections.abc import Iterable
from pathlib import Path

__all__ = ["WatchedFiles"]

Stamp = tuple[tuple[int, int, int] | None, ...]


class WatchedFiles:
    """Some files that are replaced or written to together."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Note how they are now: make it before they are read for the first time."""
        self._paths = tuple(paths)
        self._seen = self._stamp()
        self._settling: Stamp | None = None

    def have_changed(self) -> bool:
        """Return, once, that they have changed; only when they have stood still for one look.

        Who replaces a certificate and then its key is not caught between the two.
        """
        now = self._stamp()
        if now == self._seen:
            self._settling = None
            return False
        if now != self._settling:
            self._settling = now
            return False
        self._seen, self._settling = now, None
        return True

    def _stamp(self) -> Stamp:
        return tuple(_stamp_of(path) for path in self._paths)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
