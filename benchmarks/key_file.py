"""A file of API keys, as many as are asked for, and those of them that a benchmark calls with."""

from pathlib import Path

from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile

__all__ = ["write_keys"]


def write_keys(path: Path, count: int, **limits: object) -> str:
    """Write a file of `count` keys and return the one in its middle, which has the limits."""
    keys = [new_key() for _ in range(count)]
    middle = count // 2
    entries = [
        KeyEntry.of(key, f"key-{number}", **(limits if number == middle else {}))
        for number, key in enumerate(keys)
    ]
    KeyFile(keys=tuple(entries)).write(path)
    return keys[middle]
