"""`leyden-train all` runs through, goes on where it was stopped, and does nothing twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.tiny_training import SHAPE, write_latents
from support.training_command import leyden_train

from leyden_training.run_folder import read_checkpoint
from leyden_training.timings import Timings

pytestmark = pytest.mark.usefixtures("alone")

SCALE = ("--scale", 0.007)
STAGES = [
    *("render", "vae", "latents", "teacher", "export", "classifier"),
    *("distil", "ablation", "curves", "evaluate"),
]


def timings(folder: Path) -> dict[str, dict[str, float]]:
    stages: dict[str, dict[str, float]] = json.loads((folder / "timings.json").read_text())[
        "stages"
    ]
    return stages


def written(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_all_runs_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leyden_train(monkeypatch, tmp_path, "all", *SCALE) == 0
    measured = timings(tmp_path)
    assert sorted(measured) == sorted(STAGES)
    assert all(stage["seconds"] > 0 for stage in measured.values())
    page = (tmp_path / "evaluation" / "report" / "distillation.md").read_text()
    for row in ("student, 1 step", "ablation: without-adversarial"):
        assert f"| {row} |" in page
    assert (tmp_path / "teacher" / "curve.png").exists()
    capsys.readouterr()

    before = written(tmp_path)
    assert leyden_train(monkeypatch, tmp_path, "all", *SCALE) == 0
    after = written(tmp_path)
    for file in ("shape.json", "timings.json"):
        before.pop(str(tmp_path / file))
        after.pop(str(tmp_path / file))
    assert after == before
    assert timings(tmp_path) == measured
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{stage}: finished already" for stage in STAGES]

    assert leyden_train(monkeypatch, tmp_path, "all", "--scale", 1) == 2
    assert "was begun with 0.007, not 1.0" in capsys.readouterr().err


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT in the teacher's training, as Ctrl-C sends it; then that stage as `all` resumes it."""
    write_latents(tmp_path, pictures=96)
    SHAPE.write(tmp_path / "shape.json")
    command = [
        *(sys.executable, "-m", "leyden_training.cli", "--folder", str(tmp_path)),
        *("--workers", "1", "--shape", str(tmp_path / "shape.json"), "all", "--scale", "0.0096"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    curve = tmp_path / "teacher" / "curve.csv"
    while not curve.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    stopped = read_checkpoint(tmp_path / "teacher")
    assert stopped is not None
    assert 10 <= stopped["iteration"] < 24
    assert not (tmp_path / "base").exists()
    assert list(timings(tmp_path)) == ["teacher"]

    assert leyden_train(monkeypatch, tmp_path, "teacher") == 0
    resumed = read_checkpoint(tmp_path / "teacher")
    assert resumed is not None
    assert resumed["iteration"] == 24
    with curve.open(newline="") as file:  # begun again, it would have recorded 10 twice
        assert [row["iteration"] for row in csv.DictReader(file)] == ["10", "20"]


def test_time_adds_up_over_resumes(tmp_path: Path) -> None:
    def stopped_after(seconds: float) -> None:
        with Timings(tmp_path).measured("teacher", 1):
            time.sleep(seconds)
            raise KeyboardInterrupt

    for seconds in (0.05, 0.1):
        with pytest.raises(KeyboardInterrupt):
            stopped_after(seconds)
    stage = json.loads((tmp_path / "timings.json").read_text())["stages"]["teacher"]
    each = [session["seconds"] for session in stage["sessions"]]
    assert stage["seconds"] == pytest.approx(sum(each))
    assert each[0] >= 0.05
    assert each[1] >= 0.1
    assert stage["sessions"][0]["cores"] == len(os.sched_getaffinity(0))
    assert stage["sessions"][0]["device"]
    assert stage["sessions"][0]["torch"]
