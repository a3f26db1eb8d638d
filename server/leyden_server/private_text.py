"""Keeps users' prompts out of what is logged of a defect.

An exception's text may quote what it was raised for. Whoever handles a prompt says so here, and
what is written of a defect in the same task, or in one that it began, leaves it out.
"""

import re
import traceback
from collections.abc import Iterable
from contextvars import ContextVar

__all__ = ["first_line_of", "keep_private", "traceback_of"]

INSTEAD = "[private]"

_private: ContextVar[tuple[str, ...]] = ContextVar("private", default=())


def keep_private(*texts: str) -> None:
    """Leave these out of what is written of a defect, in this task and those that it begins."""
    known = _private.get()
    _private.set((*known, *(text for text in texts if text and text not in known)))


def traceback_of(error: BaseException) -> str:
    """Return an error's whole traceback, with its causes, without private texts."""
    return _without_private("".join(traceback.format_exception(error)))


def first_line_of(error: BaseException) -> str:
    """Return the first line of an error's text, without private texts."""
    return _without_private(str(error).strip()).partition("\n")[0]


def _without_private(text: str) -> str:
    # The longest first: one may hold another.
    for private in sorted(_private.get(), key=len, reverse=True):
        for written in _ways_to_write(private):
            # As a whole word, or the prompt "a" would leave nothing to read.
            text = re.sub(rf"(?<!\w){re.escape(written)}(?!\w)", INSTEAD, text)
    return text


def _ways_to_write(private: str) -> Iterable[str]:
    """Return a text as it is, stripped, as Python's repr and ascii write it, and line by line."""
    stripped = private.strip()
    lines = [line.strip() for line in private.splitlines()] if "\n" in private else []
    ways = (private, stripped, repr(private)[1:-1], ascii(private)[1:-1], *lines)
    return dict.fromkeys(way for way in ways if way)
