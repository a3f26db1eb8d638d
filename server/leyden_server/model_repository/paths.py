"""Takes the server's folders out of a text that a client is to read."""

import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["without_folders"]

# Folders of an absolute path, up to its last name. What stands before it tells it from a
# hub repository (owner/name), a relative path and an address (https://…).
ABSOLUTE = re.compile(r"(?<![\w.:/~-])/(?:[^/\s'\":;,()]+/)+")


def without_folders(text: str, roots: Iterable[Path]) -> str:
    """Return `text` with paths below `roots` written from there on, and others as a name alone.

    A root itself is written as its own name.
    """
    for root in sorted(map(str, roots), key=len, reverse=True):
        text = text.replace(f"{root}/", "")
    return ABSOLUTE.sub("", text)
