"""Files that are either whole or not there."""

import os
import secrets
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` so that no reader ever sees a part of it; raises `OSError`."""
    # Through a symlink, so that what it points to is replaced and not the link.
    target = Path(path).resolve()
    if _is_special(target):
        # A rename would put a plain file in the place of /dev/null or a pipe.
        target.write_bytes(data)
        return
    part, descriptor = _create_beside(target)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        part.replace(target)
    except BaseException:
        part.unlink()
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the `OSError` that writing `path` would raise, and leave nothing behind."""
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a directory")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the directory {target.parent} does not exist")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"{path} is there and is not writable")
    if _is_special(target):
        return
    # Asking for the permission bits is not enough: a file system may be read-only.
    try:
        part, descriptor = _create_beside(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    os.close(descriptor)
    part.unlink()


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file()


def _create_beside(target: Path) -> tuple[Path, int]:
    """Create an empty file in the directory of `target`, where a rename is atomic."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    # Not `tempfile`: its files are private to their owner, and the target would be too.
    return part, os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
