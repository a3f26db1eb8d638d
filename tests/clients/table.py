"""The table of results: a row for each case, a column for each language."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome", "Results"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case in one language."""

    cell: str
    """What stands in the table: "ok", "FAILED", "compiler" or "-"."""
    differences: Sequence[str] = ()
    """What was not as expected."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What the runner was asked."""
    answer: Mapping[str, Any] = field(default_factory=dict)
    """What it answered."""


@dataclass
class Results:
    """The outcomes, and what could not be run."""

    cases: Sequence[str]
    """Names of the cases, in their order."""
    titles: Mapping[str, str]
    """Of the languages, by their names."""
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    """By case and language."""
    not_run: dict[str, str] = field(default_factory=dict)
    """By language: why it was not run at all."""
    failed: dict[str, str] = field(default_factory=dict)
    """By language: what failed beside the cases."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and something was run."""
        outcomes = self.outcomes.values()
        return bool(outcomes) and not self.failed and all(o.cell != "FAILED" for o in outcomes)

    def table(self) -> str:
        """Return the table as text, with what could not be run below it."""
        titles = list(self.titles.values())
        rows = [["case", *titles]]
        for case in self.cases:
            rows.append([case, *(self._cell(case, name) for name in self.titles)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        lines += [f"{self.titles[name]}: not run: {why}" for name, why in self.not_run.items()]
        lines += [f"{self.titles[name]}: FAILED: {what}" for name, what in self.failed.items()]
        return "\n".join(lines)

    def count(self) -> str:
        """Return how many cells passed, failed and were passed over, in one line."""
        cells = [outcome.cell for outcome in self.outcomes.values()]
        failed = cells.count("FAILED") + len(self.failed)
        passed = cells.count("ok") + cells.count("compiler")
        over = len(self.not_run)
        return f"{passed} passed, {failed} failed" + (f", {over} skipped" if over else "")

    def _cell(self, case: str, name: str) -> str:
        if name in self.not_run:
            return "not run"
        outcome = self.outcomes.get((case, name))
        return "-" if outcome is None else outcome.cell


def explained(case: str, title: str, about: str, outcome: Outcome) -> str:
    """Return what was asked, expected and seen in a cell that failed."""
    answer = dict(outcome.answer)
    events = answer.get("events") or []
    if len(events) > 8:
        answer["events"] = [*events[:4], f"… {len(events) - 8} more …", *events[-4:]]
    return "\n".join(
        [
            f"{title}: {case} ({about})",
            *(f"  {difference}" for difference in outcome.differences),
            f"  asked: {json.dumps(dict(outcome.asked))}",
            f"  answered: {json.dumps(answer)}",
        ]
    )
