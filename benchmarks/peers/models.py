"""The models of the comparison: the one that ships, and one that takes about a second."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.contestants import CACHE, Model
from leyden_server.model_repository.repository import SHIPPED_MODELS

__all__ = ["EMBEDDED", "SECOND", "named", "second"]

EMBEDDED = Model("leyden-tiny-lightning-4step", SHIPPED_MODELS / "leyden-tiny-lightning-4step")

SECOND = "random-second"


def second(report: Callable[[str], None]) -> Model:
    """Return the random-weight model that takes about a second, written first where missing.

    Rows that share a step gain little here: the other end of what batches are worth.
    """
    from benchmarks.one_second_model import one_second_shape  # noqa: PLC0415 - imports torch
    from benchmarks.random_model import write_random_model  # noqa: PLC0415

    shape = one_second_shape()
    digest = hashlib.sha256(repr(shape).encode()).hexdigest()[:8]
    # Leyden and the reports call a model by its folder's name.
    folder = CACHE / "models" / digest / SECOND
    if not folder.exists():
        report(f"writing {SECOND}")
        unfinished = folder.with_name(f"{SECOND}.{os.getpid()}")
        write_random_model(unfinished, shape).rename(folder)
    return Model(SECOND, folder)


def named(name: str, folder: Path) -> Model:
    """Return a model of the user's; an empty name is its folder's.

    Raises:
        ValueError: it is not a diffusers folder, or cannot be called so.

    """
    if not (folder / "model_index.json").is_file():
        raise ValueError(
            f"{folder} has no model_index.json: it is not a diffusers folder; "
            f"the models that need none are {EMBEDDED.name} and {SECOND}"
        )
    name = name or folder.name
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"{name!r}: a name has letters, digits, '.', '_' and '-' alone")
    if name == folder.name:
        return Model(name, folder)
    # Leyden calls a model by its folder's name.
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    link = CACHE / "models" / digest / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(folder)
    return Model(name, link)
