"""`leyden-train evaluate` as a whole, on tiny pictures and models."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from support.tiny_evaluation import random_unet

from leyden_training import cli
from leyden_training.distillation.stage import usual_stages
from leyden_training.distillation.training import recipe_of
from leyden_training.evaluation.adherence import OVERALL

pytestmark = pytest.mark.usefixtures("alone")


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["leyden-train", *map(str, arguments)])
    return cli.main()


def test_whole_evaluation(
    tiny_evaluation: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(tiny_evaluation, tmp_path / "runs")
    shutil.copytree(folder / "students" / "4step", folder / "students" / "2step")
    out = folder / "docs"
    out.mkdir()
    (out / "distillation.md").write_text("# Of our own\n\nKept.\n")
    arguments = [
        *("--folder", folder, "--workers", 1, "evaluate", folder / "pipeline"),
        *("--pictures", 16, "--draws", 50, "--speed-rounds", 1),
        *("--report", out, "--ablation", f"none={folder / 'students' / '2step'}"),
    ]
    variant = folder / "ablation" / "without-conditional"
    random_unet(2).half().save_pretrained(variant / "unet")
    stage = usual_stages()[2]
    for run, recipe in (
        (folder / "students" / "2step", stage),
        (variant, stage.without(["conditional"])),
    ):
        (run / "stage.json").write_text(json.dumps(recipe_of(recipe, 0, 2)))
    assert run_cli(monkeypatch, *arguments) == 0
    assert "student, 8 steps: left out" in capsys.readouterr().out

    result = json.loads((out / "data" / "distillation.json").read_text())
    names = [row["name"] for row in result["systems"]]
    assert names[:5] == [
        "teacher, 50 steps",
        "teacher, 25 steps",
        "teacher, 4 steps",
        "teacher, 4 steps, unguided",
        "student, 4 steps",
    ]
    over_full = {row["name"]: row["over_full"] for row in result["systems"] if "over_full" in row}
    assert list(over_full) == [
        "student, 2 steps",
        "ablation: without-conditional",
        "ablation: none",
    ]
    for name in ("student, 2 steps", "ablation: none"):  # the same weights
        assert over_full[name]["frechet"]["estimate"] == pytest.approx(1)
    other = over_full["ablation: without-conditional"]["frechet"]
    assert other["estimate"] != pytest.approx(1, rel=1e-3)
    for row in result["systems"]:
        for figure in (row["frechet"], row["adherence"][OVERALL], row["two_sample"]):
            assert figure["low"] <= figure["estimate"] <= figure["high"], row["name"]
    assert result["systems"][0]["frechet_ratio"]["estimate"] == pytest.approx(1)
    faster = {row["system"]: row["times_faster"]["estimate"] for row in result["speed"]}
    assert faster["teacher, 50 steps"] == 1
    assert faster["student, 4 steps"] > 2
    assert str(folder) not in json.dumps(result)

    page = (out / "distillation.md").read_text()
    assert page.startswith("# Of our own\n\nKept.\n")
    worth = page.partition("## What each loss is worth")[2].partition("## Wall time")[0]
    rows = re.findall(r"^\| ([^|]+) \|", worth, flags=re.MULTILINE)
    assert rows == ["student", "---", *over_full]
    for image in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (out / image).stat().st_size > 1000
    assert len(re.findall(r"\| student, 4 steps \|", page)) >= 4

    made = sorted(
        file
        for kind in ("pictures/*/*.npy", "statistics/*.npz", "two-sample/*.json")
        for file in (folder / "evaluation").glob(kind)
    )
    assert {file.suffix for file in made} == {".npy", ".npz", ".json"}
    written = [file.stat().st_mtime_ns for file in made]
    assert run_cli(monkeypatch, *arguments) == 0
    assert [file.stat().st_mtime_ns for file in made] == written
    assert (out / "distillation.md").read_text().count("evaluation: begin") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pictures", "12"), "pictures: 12 is not a multiple of 8"),
        (("--ablation", "none"), "'none' is not NAME=FOLDER"),
    ],
)
def test_bad_arguments_are_named(
    tiny_evaluation: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_cli(
            monkeypatch,
            "--folder",
            tiny_evaluation,
            "evaluate",
            tiny_evaluation / "pipeline",
            *arguments,
        )
    assert said in f"{stopped.value}{capsys.readouterr().err}"


def test_a_missing_stage_is_named(
    tiny_evaluation: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert run_cli(monkeypatch, "--folder", tmp_path, "evaluate", tiny_evaluation / "pipeline") == 2
    assert "leyden-train classifier" in capsys.readouterr().err
