"""Curves are read as they were meant and drawn beside their files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leyden_training.curves import (
    SMOOTHED_RECORDS,
    curves_of,
    draw_curve,
    is_drawn,
    read_curve,
    smoothed,
)


def write(folder: Path, *rows: str) -> Path:
    folder.mkdir(parents=True)
    curve = folder / "curve.csv"
    curve.write_text("\n".join(rows) + "\n")
    return curve


def test_rows_written_again_after_a_kill_count_once(tmp_path: Path) -> None:
    curve = write(tmp_path / "vae", "iteration,loss", "10,3", "20,2", "30,9", "20,2", "30,1")
    recorded = read_curve(curve)
    assert recorded["iteration"].tolist() == [10, 20, 30]
    assert recorded["loss"].tolist() == [3, 2, 1]


def test_smoothing_passes_over_what_is_not_measured() -> None:
    iterations = np.arange(100.0)
    values = np.where(iterations < 20, np.nan, 2 * iterations)
    x, y = smoothed(iterations, values)
    assert len(x) == 80 - SMOOTHED_RECORDS + 1
    np.testing.assert_allclose(y, 2 * x)
    assert len(smoothed(iterations, np.full(100, np.nan))[0]) == 0


def test_every_run_gets_a_picture_with_a_panel_for_each_measured_column(tmp_path: Path) -> None:
    header = "iteration,distillation,generator,s"
    some = write(tmp_path / "students" / "4step", header, "10,1,nan,2", "20,0.5,0.7,2")
    none = write(tmp_path / "ablation" / "x", header, "10,1,nan,2", "20,0.5,nan,2")
    empty = write(tmp_path / "teacher", "iteration,loss,s")
    assert curves_of(tmp_path) == sorted([some, none, empty])
    assert draw_curve(empty) is None
    assert not is_drawn(some)
    widths = {}
    for curve in (some, none):
        picture = draw_curve(curve)
        assert picture == curve.with_name("curve.png")
        with Image.open(picture) as image:
            widths[curve] = image.width
    assert widths[some] == pytest.approx(1.5 * widths[none], abs=2)
    assert is_drawn(some)
