"""`leyden-train latents`, `distil` and `ablation` on a diffusers folder of any origin."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from support.tiny_training import write_pipeline
from support.training_command import leyden_train

from leyden_training.parts import embedded_tokenizers
from leyden_training.workers import Workers

pytestmark = pytest.mark.usefixtures("alone")

SHORT = ("--scale", 0.004, "--batch", 2)


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered pictures, and a teacher of other random weights than the tiny one's."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "data").symlink_to(tiny_folder / "data")
    write_pipeline(folder / "other", tiny_folder / "latents" / "vae", seed=4)
    return folder


def written(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_any_folder_is_distilled_down_to_one_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder / "other"
    assert leyden_train(monkeypatch, folder, "distil", other, *SHORT) == 2
    assert "run `leyden-train latents`" in capsys.readouterr().err
    assert leyden_train(monkeypatch, folder, "latents", "--of", other) == 0
    assert leyden_train(monkeypatch, folder, "ablation", other, *SHORT) == 2
    assert "run `leyden-train distil`" in capsys.readouterr().err
    assert leyden_train(monkeypatch, folder, "distil", other, *SHORT, "--down-to", 8) == 0
    first = written(folder / "students" / "8step" / "unet")
    assert leyden_train(monkeypatch, folder, "distil", other, *SHORT) == 0
    assert written(folder / "students" / "8step" / "unet") == first

    teacher = UNet2DConditionModel.from_pretrained(other / "unet", dtype=torch.float32)
    for steps in (8, 4, 2, 1):
        run = folder / "students" / f"{steps}step"
        student = UNet2DConditionModel.from_pretrained(run / "unet", dtype=torch.float32)
        assert not torch.equal(student.conv_out.weight, teacher.conv_out.weight)
        torch.testing.assert_close(
            student.conv_out.weight, teacher.conv_out.weight, rtol=0, atol=0.05
        )
        assert (run / "lora.safetensors").exists()
    recipe = json.loads((folder / "students" / "1step" / "stage.json").read_text())
    assert (recipe["stage"]["prediction"], recipe["stage"]["batch"]) == ("sample", 2)


def test_latents_take_the_teachers_own_tokenizers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one of SDXL itself pads with another token than the first."""
    (tmp_path / "data").symlink_to(folder / "data")
    other = write_pipeline(tmp_path / "other", folder / "other" / "vae")
    tokenizer = embedded_tokenizers()[1]
    tokenizer.pad_token = "!"
    tokenizer.save_pretrained(other / "tokenizer_2")
    assert leyden_train(monkeypatch, tmp_path, "latents", "--of", other) == 0
    first, second = np.load(tmp_path / "latents" / "tokens-0.npy")[0, 0]
    assert first[-1] != second[-1] == tokenizer.convert_tokens_to_ids("!")
    assert first[0] == second[0]


def test_switched_off_losses_have_folders_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    students = written(folder / "students")
    without = ("--without", "conditional", "--without", "feature-matching", "--down-to", 4)
    assert leyden_train(monkeypatch, folder, "distil", folder / "other", *SHORT, *without) == 0
    assert written(folder / "students") == students
    run = folder / "students-without-conditional-feature-matching" / "4step"
    weights = json.loads((run / "stage.json").read_text())["stage"]["weights"]
    assert {name for name, weight in weights.items() if weight == 0} == {
        "conditional",
        "feature_matching",
    }


def test_the_ablation_trains_each_variant_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = ("--variant", "full", "--variant", "without-adversarial")
    ablation = ("ablation", folder / "other", *SHORT, *variants)
    assert leyden_train(monkeypatch, folder, *ablation) == 0
    # `full` was trained by `distil`, by the same recipe.
    assert [run.name for run in (folder / "ablation").iterdir()] == ["without-adversarial"]
    first = written(folder / "ablation")
    assert leyden_train(monkeypatch, folder, *ablation) == 0
    assert written(folder / "ablation") == first

    longer = ("ablation", folder / "other", "--scale", 0.02, "--batch", 2, "--variant", "full")
    assert leyden_train(monkeypatch, folder, *longer) == 0
    recipe = json.loads((folder / "ablation" / "full" / "stage.json").read_text())
    assert recipe["stage"]["distillation_iterations"] == 3
    assert recipe["stage"]["weights"]["conditional"] > 0


def test_a_stopped_student_says_so_and_goes_on_by_its_own_recipe_alone(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for part in ("latents", "other"):
        (tmp_path / part).symlink_to(folder / part)
    distil = ("distil", tmp_path / "other", "--batch", 2, "--down-to", 8)

    def stop(workers: Workers, parameters: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "average_gradients", stop)
        assert leyden_train(patch, tmp_path, *distil, "--scale", 0.01) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err
    run = tmp_path / "students" / "8step"
    assert (run / "checkpoint.pt").exists()
    assert not (run / "unet").exists()
    assert leyden_train(monkeypatch, tmp_path, *distil, "--scale", 0.02) == 2
    assert "begun by another recipe" in capsys.readouterr().err
    assert leyden_train(monkeypatch, tmp_path, *distil, "--scale", 0.01) == 0
    assert (run / "unet").exists()


def test_a_finished_student_of_another_recipe_is_not_taken_for_this_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = ("distil", folder / "other", "--scale", 0.1, "--batch", 2, "--down-to", 8)
    assert leyden_train(monkeypatch, folder, *longer) == 2
    assert "8step was begun by another recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("scheduler/scheduler_config.json", "prediction_type", "v_prediction"),
        ("scheduler/scheduler_config.json", "beta_end", 0.02),
        ("model_index.json", "force_zeros_for_empty_prompt", False),
    ],
)
def test_a_teacher_that_predicts_otherwise_than_sdxl_is_refused(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    name: str,
    value: object,
) -> None:
    (tmp_path / "latents").symlink_to(folder / "latents")
    other = shutil.copytree(folder / "other", tmp_path / "other")
    config = json.loads((other / file).read_text())
    (other / file).write_text(json.dumps(config | {name: value}))
    assert leyden_train(monkeypatch, tmp_path, "distil", other, *SHORT) == 2
    assert f"{name} is {value!r}; only" in capsys.readouterr().err


def test_what_is_no_diffusers_folder_is_named(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "latents").symlink_to(folder / "latents")
    assert leyden_train(monkeypatch, tmp_path, "distil", tmp_path / "nowhere") == 2
    assert f"{tmp_path / 'nowhere'} is no diffusers folder" in capsys.readouterr().err
    nothing = ("distil", folder / "other", "--without", "adversarial", "--without", "distillation")
    assert leyden_train(monkeypatch, tmp_path, *nothing) == 2
    assert "no loss is left" in capsys.readouterr().err
