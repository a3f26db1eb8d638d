"""Prints sections as tables, and turns them into JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.section import Section, TextTable

__all__ = ["print_sections", "to_json"]

WIDTH = 130


def print_sections(
    conditions: Mapping[str, Any], sections: Mapping[str, Section], *, quick: bool
) -> None:
    """Print what explains the figures, then the one table of all figures."""
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    for name, section in sections.items():
        console.rule(name)
        for condition, value in section.conditions.items():
            console.print(f"{condition}: {value}")
        for explaining in section.tables:
            console.print(_table(explaining))
        for note in section.notes:
            console.print(note)
    console.rule("figures")
    for condition, value in conditions.items():
        shown = (
            ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        )
        console.print(f"{condition}: {shown}")
    if quick:
        console.print("--quick: these figures mean nothing")
    table = Table("figure", "asked", "measured", "met?", show_lines=True)
    for section in sections.values():
        for figure in section.figures:
            met = {True: "yes", False: "NO", None: ""}[figure.met]
            table.add_row(*map(Text, (figure.name, figure.asked, figure.measured, met)))
    console.print(table)


def to_json(
    conditions: Mapping[str, Any], sections: Mapping[str, Section], *, quick: bool
) -> dict[str, Any]:
    """Return everything that was measured, ready for `json.dumps`."""
    return {
        "conditions": dict(conditions),
        "quick": quick,
        "sections": {
            name: {
                "conditions": section.conditions,
                "figures": [asdict(figure) for figure in section.figures],
                "notes": section.notes,
                "data": section.data,
            }
            for name, section in sections.items()
        },
    }


def _table(source: TextTable) -> Table:
    table = Table(*source.columns, title=source.title, title_justify="left", title_style="")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in source.rows:
        table.add_row(*map(Text, row))
    return table
