"""Plots of a result, and of the training curves that led to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leyden_training.curves import read_curve, smoothed
from leyden_training.evaluation.adherence import OVERALL

__all__ = ["plot_curves", "plot_figures"]

PANELS = (
    ("VAE: PSNR of its batches, dB", "psnr_db", ("vae",), False),
    ("teacher: loss", "loss", ("teacher",), False),
    ("classifier: accuracy on its batches", "accuracy", ("classifier",), False),
    ("distance of step ends (log)", "distillation", (), True),
    ("discriminator: share told right", "accuracy", (), False),
    ("distance of the discriminator's features", "features", (), False),
)
"""Title, column of the curve, runs (none: all students), and whether the axis is logarithmic."""


def plot_figures(result: Mapping[str, Any], out: Path) -> None:
    """Draw distance, adherence and two-sample accuracy of every system with their intervals."""
    rows = result["systems"]
    figure = Figure(figsize=(13, 1.6 + 0.34 * len(rows)), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 3, sharey=True)
    names = [row["name"] for row in rows]
    for axes, (title, values, lines) in zip(
        panels,
        (
            (
                "Fréchet distance, ratio to the teacher's",
                [row["frechet_ratio"] for row in rows],
                (1, 1.25),
            ),
            (
                "adherence, share of stated attributes",
                [row["adherence"][OVERALL] for row in rows],
                (rows[0]["adherence"][OVERALL]["estimate"],),
            ),
            ("two-sample accuracy", [row["two_sample"] for row in rows], (0.5, 0.65)),
        ),
        strict=True,
    ):
        for place, value in enumerate(values):
            _bar(axes, place, value)
        for line in lines:
            axes.axvline(line, color="grey", linewidth=0.8, linestyle=":")
        axes.set_title(title, fontsize=10)
        axes.set_yticks(range(len(names)), names, fontsize=9)
    panels[0].invert_yaxis()
    figure.savefig(out, dpi=110)


def _bar(axes: Axes, place: int, value: Mapping[str, float | None]) -> None:
    estimate, low, high = value["estimate"], value["low"], value["high"]
    if estimate is None:
        return
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color="tab:blue", linewidth=2)
    axes.plot([estimate], [place], "o", color="tab:blue", markersize=5)


def plot_curves(runs: Mapping[str, Path], out: Path) -> bool:
    """Draw the curves of run folders, by their labels.

    Args:
        runs: folders with a `curve.csv`; `vae`, `teacher` and `classifier` are those, every
            other label is a student's. Folders without one are passed over.
        out: the picture's file.

    Returns:
        Whether there was a curve to draw.

    """
    curves = {
        label: read_curve(folder / "curve.csv")
        for label, folder in runs.items()
        if (folder / "curve.csv").exists()
    }
    if not curves:
        return False
    named = {label for _, _, labels, _ in PANELS for label in labels}
    figure = Figure(figsize=(13, 7), layout="constrained")
    grid: Any = figure.subplots(2, 3)
    for axes, (title, column, labels, logarithmic) in zip(grid.flat, PANELS, strict=True):
        for label in labels or [name for name in curves if name not in named]:
            curve = curves.get(label, {})
            x, y = smoothed(curve["iteration"], curve[column]) if column in curve else ((), ())
            if len(x):
                axes.plot(x, y, label=label, linewidth=1.3)
        if logarithmic and axes.lines:
            axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("iteration", fontsize=9)
        if len(axes.lines) > 1:
            axes.legend(fontsize=8)
        elif not axes.lines:
            axes.set_visible(False)
    figure.savefig(out, dpi=110)
    return True
