"""What a measurement hands back: figures with what was asked of them, tables, raw data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Figure", "Say", "Section", "Settings", "TextTable"]

Say = Callable[[str], None]
"""Tells the person at the terminal, in a few words, what runs now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure."""

    quick: bool
    """A tiny pass that shows that everything runs; its figures mean nothing."""
    say: Say
    pairs: int
    """How often what is compared in turns has its turn, where time allows."""
    before: Path | None = None
    """A checkout of another commit, whose server is measured in turns with this one's."""

    def pick(self, full: int, quick: int) -> int:
        """Return the number that suits."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    asked: str
    """What is asked of it; empty: it is only reported."""
    measured: str
    met: bool | None = None
    """None: nothing was asked, or it could not be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Rows that explain a figure."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The outcome of one measurement."""

    conditions: dict[str, str]
    """Models, sizes, steps, threads, numbers of requests."""
    figures: list[Figure]
    tables: list[TextTable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    """Whatever else was measured, for the JSON."""
