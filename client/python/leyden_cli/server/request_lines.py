"""The request log as `leyden serve` shows it: each line as it is, or one for people."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from leyden_cli.printable import printable

__all__ = ["shown_as"]

GREEN, YELLOW, RED, DIM, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
OURS = {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNIMPLEMENTED"}
"""Codes of what is the server's to mend; the others are the client's, or nobody's."""

CODE_WIDTH = len("FAILED_PRECONDITION")
METHOD_WIDTH = len("ModelStreamInfer")


def shown_as(log_format: str, *, colour: bool) -> Callable[[str], str]:
    """Return what makes whole lines of the log what is shown: `json`, as they are, or `text`.

    `colour` is for a terminal; text alone has any.
    """
    if log_format == "json":
        return lambda lines: lines

    def as_text(lines: str) -> str:
        return "".join(f"{_line(line, colour)}\n" for line in lines.splitlines())

    return as_text


def _line(line: str, colour: bool) -> str:
    try:
        told = json.loads(line)
        if "traceback" in told:
            return printable(f"error {told['error_id']}\n{told['traceback'].rstrip()}")
        if "note" in told:
            return printable(f"{_clock(told)}  {told['note']}").replace("\n", r"\n")
        return _request(told, colour)
    except (ValueError, TypeError, KeyError):
        return printable(line)  # a log of another version, say


def _request(told: dict[str, Any], colour: bool) -> str:
    clock = _clock(told)
    code = f"{told['code']:<{CODE_WIDTH}}"
    method = f"{told['method'].rpartition('/')[2]:<{METHOD_WIDTH}}"
    head = (
        f"{clock}  {_coloured(code, told['code'], colour)}  {told['duration_s']:8.3f} s  {method}"
    )
    said = [told["model"], *_pictures(told), *_failure(told)]
    names = ("request_id", "caller_request_id", "key", "trace_id", "peer")
    named = [f"{name}={told[name]}" for name in names if told.get(name)]
    tail = printable(" ".join(named)).replace("\n", r"\n")
    if colour:
        tail = f"{DIM}{tail}{PLAIN}"
    words = printable("  ".join(word for word in said if word)).replace("\n", r"\n")
    return f"{head}  {words}  {tail}"


def _clock(told: dict[str, Any]) -> str:
    return datetime.fromisoformat(told["time"]).astimezone().strftime("%H:%M:%S")


def _pictures(told: dict[str, Any]) -> list[str]:
    """Return what was asked for and how long it waited, as far as that is known."""
    if told["width_px"] is None:
        return []
    what = [
        f"{told['image_count']} x {told['width_px']}x{told['height_px']}",
        f"{told['num_inference_steps']} steps",
    ]
    if told["queue_s"] is not None:
        what.append(f"waited {told['queue_s']:.3f} s")
    if told["retries"]:
        what.append(f"retries {told['retries']}")
    return what


def _failure(told: dict[str, Any]) -> list[str]:
    if not told["reason"] and not told["message"]:
        return []
    return [": ".join(part for part in (told["reason"], told["message"]) if part)]


def _coloured(text: str, code: str, colour: bool) -> str:
    if not colour:
        return text
    shade = GREEN if code == "OK" else RED if code in OURS else YELLOW
    return f"{shade}{text}{PLAIN}"
