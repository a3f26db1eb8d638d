"""`leyden models check`: what a file or folder is, and with which model.yaml it can be served."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from leyden_cli.printable import printable
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.check import CheckReport, check

__all__ = ["check_path"]

LABEL_WIDTH = 12
SHOWN = 5


def check_path(path: Path, base: Path | None, *, as_json: bool) -> int:
    """Print what is known of `path`; return 1 where it cannot be served."""
    try:
        report = check(path, base)
    except ModelRepositoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(_as_json(report)))
    else:
        _print(report)
    return 0 if report.servable else 1


def _as_json(report: CheckReport) -> dict[str, Any]:
    fields = dataclasses.asdict(report)
    return {**fields, "path": str(report.path), "servable": report.servable}


def _print(report: CheckReport) -> None:
    rows = {
        "path": str(report.path),
        "is": report.what,
        "precision": ", ".join(f"{dtype} ({n} tensors)" for dtype, n in report.precision.items()),
        "parameters": ", ".join(f"{part} {_count(n)}" for part, n in report.parameters.items()),
        "predicts": _schedule(report),
        "tensors": _tensors(report),
        "unknown": _some(report.unknown),
        "missing": _some(report.missing),
        "triggers": ", ".join(report.trigger_words),
        **report.notes,
    }
    for label, text in rows.items():
        if text:
            print(f"{label:<{LABEL_WIDTH}} {printable(text)}")
    if not report.servable:
        for problem in report.problems:
            print(f"{'refused':<{LABEL_WIDTH}} {printable(problem)}")
        return
    print("\nIt can be served, with this model.yaml:\n")
    print(printable(report.model_yaml).rstrip())


def _tensors(report: CheckReport) -> str:
    if not report.known:
        return ""
    leftovers = len(report.meaningless)
    more = f", {leftovers} known to mean nothing" if leftovers else ""
    return f"{report.known} used{more}"


def _schedule(report: CheckReport) -> str:
    if not report.prediction_type and report.rescale_betas_zero_snr is None:
        return ""
    zero = ", down to noise alone (zero terminal SNR)" if report.rescale_betas_zero_snr else ""
    return (report.prediction_type or "as the base's scheduler says") + zero


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _count(number: int) -> str:
    for unit, name in ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return str(number)
