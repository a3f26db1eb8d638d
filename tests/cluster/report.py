"""What a run of `make test-cluster` saw: a line as it happens, and a table at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Outcome", "Report", "Row"]

Outcome = Literal["holds", "FAILED", "skipped"]


@dataclass(frozen=True)
class Row:
    """One check of one part."""

    part: str
    check: str
    outcome: Outcome
    seen: str
    """A figure or a sentence: what was seen, what was seen instead, or why nobody looked."""


@dataclass
class Report:
    """The rows of all parts."""

    rows: list[Row] = field(default_factory=list)
    _part: str = ""
    _since_s: float = field(default_factory=time.monotonic)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Take what is reported within for that part's."""
        self._part = part
        print(f"\n== {part}", flush=True)
        yield

    def say(self, what: str) -> None:
        """Show what is done now, and how long the run has taken so far."""
        print(f"[{time.monotonic() - self._since_s:6.1f} s] {what}", flush=True)

    def holds(self, check: str, seen: str = "") -> None:
        """Note that a check was made and held."""
        self._add(check, "holds", seen)

    def fails(self, check: str, seen: str) -> None:
        """Note that a check did not hold; the part may go on."""
        self._add(check, "FAILED", seen)

    def skips(self, check: str, why: str) -> None:
        """Note that a check was not made here."""
        self._add(check, "skipped", why)

    @property
    def failed(self) -> bool:
        """Whether any check of any part failed."""
        return any(row.outcome == "FAILED" for row in self.rows)

    def table(self) -> str:
        """Return all rows, a line each, under headings."""
        cells = [("part", "check", "outcome", "seen")]
        cells += [(row.part, row.check, row.outcome, row.seen) for row in self.rows]
        part, check, outcome = (max(len(row[column]) for row in cells) for column in range(3))
        lines = [f"{a:{part}}  {b:{check}}  {c:{outcome}}  {d}" for a, b, c, d in cells]
        return "\n".join(line.rstrip() for line in lines)

    def _add(self, check: str, outcome: Outcome, seen: str) -> None:
        one_line = " ".join(seen.split())
        self.rows.append(Row(self._part, check, outcome, one_line))
        self.say(f"{outcome}: {check}{': ' if one_line else ''}{one_line}")
