"""The report: a page of tables, plots, contact sheets, and the result as JSON.

The page may hold other text: what stands between the two marks is replaced, the rest kept.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leyden_training.evaluation.pictures import PictureSet
from leyden_training.evaluation.plots import plot_curves, plot_figures
from leyden_training.evaluation.sheets import comparison_sheet
from leyden_training.evaluation.tables import (
    ablation_table,
    adherence_table,
    asked_table,
    classifier_table,
    speed_table,
    systems_table,
)

__all__ = ["PAGE", "write_report"]

PAGE = "distillation.md"
BEGIN, END = "<!-- evaluation: begin -->", "<!-- evaluation: end -->"
TITLE = "# Distillation, measured\n"
SHEET_PROMPTS = 8


def write_report(
    result: Mapping[str, Any],
    out: Path,
    *,
    sets: Mapping[str, PictureSet],
    captions: Sequence[str],
    runs: Mapping[str, Path],
    left_out: Sequence[str] = (),
) -> None:
    """Write `distillation.md`, `data/distillation.json` and `images/distillation-*.png`.

    Args:
        result: what `evaluate` returned.
        out: folder of the page.
        sets: the evaluation's pictures by name.
        captions: the prompts' texts; the sheets show the first ones.
        runs: run folders whose curves are drawn, by label.
        left_out: names of systems that did not exist.

    """
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / "images").mkdir(exist_ok=True)
    (out / "data" / "distillation.json").write_text(json.dumps(result, indent=1) + "\n")
    plot_figures(result, out / "images" / "distillation-figures.png")
    curves = plot_curves(runs, out / "images" / "distillation-curves.png")
    for name, rows in _sheets(result).items():
        pictures = {row: sets[row].load(SHEET_PROMPTS) for row in rows}
        sheet = comparison_sheet(pictures, captions[:SHEET_PROMPTS])
        sheet.save(out / "images" / f"distillation-{name}.png", optimize=True)
    _replace(out / PAGE, page(result, curves=curves, left_out=left_out))


def page(result: Mapping[str, Any], *, curves: bool, left_out: Sequence[str]) -> str:
    """Write the page's text."""
    systems = result["systems"]
    steps = [row for row in systems if _kind(row) == "steps"]
    grids = [row["name"] for row in systems if _kind(row) == "grid" or _is_grid_base(row)]
    ablated = _ablation(systems)
    parts = [
        _conditions(result),
        "## Asked and found\n\n" + asked_table(systems),
        "## Teacher and students\n\n" + systems_table(steps),
        "![every figure with its interval](images/distillation-figures.png)",
        "![the same prompts and noise in each column](images/distillation-steps.png)",
        "## Controls\n\n" + systems_table(result["controls"]),
        "## Adherence by attribute\n\n" + adherence_table([*steps, *result["controls"]]),
        f"## Sampling grid at 4 steps\n\n{systems_table(systems, names=grids)}\n\n"
        "![three grids at 4 steps](images/distillation-grid.png)",
    ]
    if ablated:
        parts.append(
            f"## What each loss is worth\n\n{_ablation_table(ablated)}\n\n"
            "![students of other losses](images/distillation-ablation.png)"
        )
    parts.append(
        "## Wall time\n\nOne picture from prompt to pixels in the stock pipeline, batch 1, "
        f"{result['speed'][0]['rounds']} interleaved rounds: median, least and most. The last "
        "two columns are a published table of the full-size models on one A100, for the shape "
        "of the curve alone.\n\n" + speed_table(result["speed"])
    )
    parts.append("## The classifier\n\n" + classifier_table(result["classifier"]))
    if curves:
        parts.append("## Training\n\n![training curves](images/distillation-curves.png)")
    if left_out:
        parts.append("Not evaluated, since they did not exist: " + "; ".join(left_out) + ".")
    return "\n\n".join(parts) + "\n"


def _conditions(result: Mapping[str, Any]) -> str:
    settings, where = result["settings"], result["conditions"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    side = settings["native_px"]
    return (
        f"{settings['pictures']} held-out prompts, which no training picture has in these words "
        f"or this scene's drawing; one picture of each at {side} px square in every set, "
        f"{settings['attributes_stated']} stated attributes in all. The Fréchet distance is to "
        f"{settings['reference_pictures']} rendered pictures of the same scenes, on the features "
        "of a classifier trained on the rendered data set, with the bias of finite sets taken "
        f"off. Told from the teacher: cross-validated accuracy ({settings['folds']} folds, parted "
        f"in {settings['repeats']} ways, the mean of all) of a classifier trained to tell "
        "the system's pictures from the 50-step teacher's of the same prompts and other noise, "
        "one at a time, and side by side for the same prompt; 0.5 is guessing. Brackets are 95% "
        f"intervals over prompts ({settings['draws']} bootstrap draws).\n\n"
        f"Measured on {where['device']}, {where['cores']} cores, {where['dtype']}, "
        f"{where['torch_threads']} torch thread a process, load average "
        f"{where['load_average_before']} before the timing; Python {where['python']}, {versions}; "
        f"{where['date']}."
    )


def _sheets(result: Mapping[str, Any]) -> dict[str, list[str]]:
    systems = result["systems"]
    sheets = {
        "steps": [row["name"] for row in systems if _kind(row) == "steps"],
        "grid": [r["name"] for r in systems if _kind(r) == "grid" or _is_grid_base(r)],
        "ablation": [row["name"] for row in _ablation(systems)],
    }
    sheets["steps"].append("rendered, through the VAE")
    return {name: rows for name, rows in sheets.items() if rows}


def _ablation(systems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Find the students of other losses, the one of all losses that they go with first."""
    rows = [row for row in systems if _kind(row) == "ablation"]
    full = [row for row in systems if row.get("over_full") and row not in rows]
    return [*full, *rows]


def _ablation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tabulate them beside the one of all losses, or alone where there is none."""
    if not rows[0].get("over_full"):
        return systems_table(rows)
    return (
        "The first row has all losses; the others were trained by the same recipe, as long, "
        f"without some.\n\n{ablation_table(rows)}"
    )


def _kind(row: Mapping[str, Any]) -> str:
    if row["name"].startswith("ablation"):
        return "ablation"
    return "steps" if row["timestep_spacing"] == "trailing" else "grid"


def _is_grid_base(row: Mapping[str, Any]) -> bool:
    """Whether it is the trailing grid's row of the ablation of grids."""
    return row["name"] in {"teacher, 4 steps", "student, 4 steps"}


def _replace(file: Path, text: str) -> None:
    """Put the text between the marks of the file, or at the end of a page without marks."""
    old = file.read_text(encoding="utf-8") if file.exists() else TITLE
    before, begin, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    block = f"{BEGIN}\n{text}{END}"
    new = f"{before}{block}{after}" if begin else f"{old.rstrip()}\n\n{block}\n"
    part = file.with_suffix(".part")
    part.write_text(new, encoding="utf-8")
    part.replace(file)
