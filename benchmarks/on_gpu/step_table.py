"""The counts of steps and decodes as tables in Markdown, of one run or of several."""

from typing import Any

from benchmarks.on_gpu.operator_counts import KINDS

__all__ = ["step_tables"]

NAMES = {"unet": "UNet step", "vae": "VAE decode"}
UNITS = {"unet": "row", "vae": "image"}

Row = dict[str, Any]


def step_tables(runs: dict[str, list[Row]]) -> str:
    """Return a table for each model and number of rows.

    `runs` has rows of the JSON by the heading of Leyden's column; the first run's stand for
    diffusers too. FP8 has columns of its own where a run has counted it.
    """
    first = next(iter(runs.values()))
    tables = []
    for model, number in dict.fromkeys((row["model"], row["rows"]) for row in first):
        columns = {"diffusers": _find(first, model, "diffusers", number)}
        for heading, rows in runs.items():
            columns[heading] = _find(rows, model, "leyden", number)
            columns[f"{heading}, FP8"] = _find(rows, model, "leyden fp8", number)
            columns[f"{heading}, all FP8"] = _find(rows, model, "leyden fp8 all", number)
        tables.append(_table(model, number, {name: row for name, row in columns.items() if row}))
    return "\n".join(tables)


def _find(rows: list[Row], model: str, variant: str, number: int) -> Row:
    wanted = (model, variant, number)
    found = (row for row in rows if (row["model"], row["variant"], row["rows"]) == wanted)
    return next(found, {})


def _table(model: str, number: int, columns: dict[str, Row]) -> str:
    unit = UNITS[model] + "s"[: number > 1]
    lines = [
        f"| {NAMES[model]}, {number} {unit} | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for kind in KINDS:
        cells = [_cell(row["kinds"][kind]) for row in columns.values()]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    totals = [row["total"] for row in columns.values()]
    tflop = [f"{total['flop'] / 1e12:.2f}" for total in totals]
    calls = [str(total["calls"]) for total in totals]
    lines += [
        f"| all | {' | '.join(map(_cell, totals))} |",
        f"| TFLOP | {' | '.join(tflop)} |",
        f"| operators and kernels run | {' | '.join(calls)} |",
    ]
    return "\n".join(lines) + "\n"


def _cell(cost: Row) -> str:
    moved = (cost["read_bytes"] + cost["written_bytes"]) / 1e9
    return f"{moved:.2f} GB, {1000 * cost['bound_s']:.2f} ms"
