"""Writes the tables of docs/metrics.md, or checks that they are up to date.

python tests/checks/metrics_table.py write
python tests/checks/metrics_table.py check
"""

import argparse
import sys
from pathlib import Path
from types import ModuleType

from leyden_server.metrics import of_leyden, of_triton
from leyden_server.metrics.metric import Metric

__all__ = ["DOCUMENT", "TABLES", "document", "table"]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
BEGIN = "<!-- The table of {} is written by tests/checks/metrics_table.py. -->\n\n"
END = "<!-- End of the table. -->"
KINDS = {"bare": "counter, untyped"}

TABLES = {"Triton's": of_triton, "our own": of_leyden}


def table(module: ModuleType) -> str:
    """Returns a table in Markdown: a row for each metric of a module."""
    rows = ["| metric | kind | labels | what it is | what it is for |", "|---|---|---|---|---|"]
    for metric in vars(module).values():
        if isinstance(metric, Metric):
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            kind = KINDS.get(metric.kind, metric.kind)
            row = f"| `{metric.name}` | {kind} | {labels} | {metric.help} | {metric.use} |"
            rows.append(row.replace("|  |", "| |"))
    return "\n".join(rows) + "\n\n"


def document(text: str) -> str:
    """Returns the text of the page with its tables replaced.

    Raises:
        ValueError: the page lacks a mark of where a table begins or ends.

    """
    for name, module in TABLES.items():
        begin = BEGIN.format(name)
        before, begins, rest = text.partition(begin)
        _, ends, after = rest.partition(END)
        if not begins or not ends:
            raise ValueError(f"docs/metrics.md lacks {begin.strip()} or {END} after it")
        text = f"{before}{begin}{table(module)}{END}{after}"
    return text


def main() -> int:
    """Runs the command line; 1 where a table is stale."""
    parser = argparse.ArgumentParser(description="The tables of metrics.")
    parser.add_argument("action", choices=["write", "check"])
    action = parser.parse_args().action
    text = DOCUMENT.read_text(encoding="utf-8")
    fresh = document(text)
    if action == "write":
        DOCUMENT.write_text(fresh, encoding="utf-8")
    elif fresh != text:
        cure = "Cure: python tests/checks/metrics_table.py write"
        print(f"A table of docs/metrics.md does not match the code's. {cure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
