"""A picture of each run's curve, `curve.png` beside its `curve.csv`."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

__all__ = ["curves_of", "draw_curve", "is_drawn", "read_curve", "smoothed"]

Values = npt.NDArray[np.float64]

SMOOTHED_RECORDS = 15
"""Recorded rows in each mean, fewer for a short run; one is recorded every ten iterations."""

COLUMNS = 3
"""Panels side by side."""

COMMON = {"s": "time of an iteration, s"}
STUDENT = {
    "distillation": "squared distance of ends, latents' variances",
    "generator": "adversarial loss of the student, nats",
    "discriminator": "loss of the discriminator, nats",
    "accuracy": "told right by the discriminator, share",
    "features": "distance of features, share of their size",
    **COMMON,
}
AXES: Mapping[str, Mapping[str, str]] = {
    "vae": {"loss": "L1 loss, of pixels in -1 … 1", "psnr_db": "PSNR of a batch, dB", **COMMON},
    "teacher": {"loss": "weighted squared error, noise's variances", **COMMON},
    "classifier": {
        "loss": "cross-entropy of all attributes, nats",
        "accuracy": "told right of a batch, share",
    },
}
"""What a column is and its unit, by the run's folder; a student's in any other."""

LOGARITHMIC = {"loss", "distillation"}


def curves_of(folder: Path) -> list[Path]:
    """Find the curves of all runs in a folder: VAE, teacher, classifier, students, ablation."""
    return sorted([*folder.glob("*/curve.csv"), *folder.glob("*/*/curve.csv")])


def is_drawn(curve: Path) -> bool:
    """Whether the picture is there and no older than the curve."""
    picture = curve.with_suffix(".png")
    return picture.exists() and picture.stat().st_mtime >= curve.stat().st_mtime


def draw_curve(curve: Path) -> Path | None:
    """Draw every column of a curve that has values, as recorded and smoothed.

    Args:
        curve: a run's `curve.csv`.

    Returns:
        The picture's file, or None where nothing is recorded yet.

    """
    recorded = read_curve(curve)
    panels = list(_panels(recorded, AXES.get(curve.parent.name, STUDENT)))
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
    mark = "" if len(recorded["iteration"]) > 1 else "."
    for place, (column, label) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.plot(recorded["iteration"], recorded[column], mark + "-", color="tab:blue", alpha=0.25)
        axes.plot(*smoothed(recorded["iteration"], recorded[column]), color="tab:blue")
        if column in LOGARITHMIC and np.nanmin(recorded[column]) > 0:
            axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_ylabel(label, fontsize=9)
        axes.grid(visible=True, which="both", alpha=0.2)
    figure.suptitle("/".join(curve.parent.parts[-2:]))
    picture = curve.with_suffix(".png")
    figure.savefig(picture, dpi=110)
    return picture


def _panels(recorded: Mapping[str, Values], labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for column, values in recorded.items():
        if column != "iteration" and np.isfinite(values).any():
            yield column, labels.get(column, column)


def read_curve(curve: Path) -> dict[str, Values]:
    """Read a curve's columns, in the order of iterations.

    A run that was killed goes on from a checkpoint before its last rows: of rows of the same
    iteration the last counts.
    """
    with curve.open(newline="") as file:
        rows = {int(row["iteration"]): row for row in csv.DictReader(file)}
    ordered = [rows[iteration] for iteration in sorted(rows)]
    names = ordered[0] if ordered else ()
    return {name: np.array([float(row[name]) for row in ordered]) for name in names}


def smoothed(iterations: Values, values: Values) -> tuple[Values, Values]:
    """Return running means of what is finite, each at the middle of its iterations."""
    known = np.isfinite(values)
    if not known.any():
        return iterations[:0], values[:0]
    width = min(SMOOTHED_RECORDS, max(1, int(known.sum()) // 4))
    kernel = np.ones(width) / width
    return (
        np.convolve(iterations[known], kernel, mode="valid"),
        np.convolve(values[known], kernel, mode="valid"),
    )
