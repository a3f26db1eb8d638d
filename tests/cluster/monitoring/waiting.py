"""Waiting for what must come: by looking, with a limit that ends hangs."""

import time
from collections.abc import Callable
from typing import TypeVar

from support.patience import PATIENCE_S

__all__ = ["CameNotError", "wait_for"]

Found = TypeVar("Found")

LOOK_S = 0.25


class CameNotError(AssertionError):
    """What was waited for did not come."""


def wait_for(what: str, look: Callable[[], Found | None]) -> Found:
    """Look until there is something, and return it.

    Raises:
        CameNotError: nothing came.

    """
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := look()):
        if time.monotonic() > deadline_s:
            raise CameNotError(f"{what}: did not come within {PATIENCE_S:g} s")
        time.sleep(LOOK_S)
    return found
