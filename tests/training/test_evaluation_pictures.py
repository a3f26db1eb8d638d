"""Sets of pictures: what draws them, what is kept, and what makes them anew."""

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_evaluation import random_unet, rendered
from support.tiny_training import ALONE

from leyden_training.distillation.stage import usual_stages
from leyden_training.distillation.training import recipe_of
from leyden_training.evaluation.pictures import (
    CHUNK,
    Paint,
    PictureSet,
    Pixels,
    Rendering,
    Sampling,
    fill,
    missing_chunks,
)
from leyden_training.evaluation.prompts import Prompt
from leyden_training.evaluation.systems import (
    System,
    available,
    full_student,
    usual_systems,
)

pytestmark = pytest.mark.usefixtures("alone")


def test_noise_of_two_blocks_differs_and_batches_change_nothing(
    tiny_evaluation: Path, prompts: tuple[Prompt, ...]
) -> None:
    system = System("teacher", tiny_evaluation / "pipeline", 2)
    paint = Sampling(system).open(torch.device("cpu"))
    first = paint(0, prompts[:4])
    np.testing.assert_array_less(np.abs(first[2:3] - paint(2, prompts[2:3]).astype(int)), 2)
    other = Sampling(system, block=1).open(torch.device("cpu"))(0, prompts[:4])
    assert np.abs(first.astype(int) - other).mean() > 5


def test_every_setting_of_a_system_reaches_the_pipeline(tiny_evaluation: Path) -> None:
    system = System(
        "student",
        tiny_evaluation / "pipeline",
        4,
        tiny_evaluation / "students" / "4step" / "unet",
        timestep_spacing="leading",
        prediction_type="sample",
    )
    pipeline = system.load()
    assert pipeline.scheduler.config.timestep_spacing == "leading"
    assert pipeline.scheduler.config.prediction_type == "sample"
    laid_over = random_unet(1).half().float().conv_out.weight
    torch.testing.assert_close(pipeline.unet.conv_out.weight, laid_over)


class Interrupted(Rendering):
    """A source that is interrupted, as by Ctrl-C, in its second chunk."""

    def open(self, device: torch.device) -> Paint:
        paint = super().open(device)

        def interrupted(first: int, prompts: Sequence[Prompt]) -> Pixels:
            if first == CHUNK:
                signal.raise_signal(signal.SIGINT)
            return paint(first, prompts)

        return interrupted


def test_pictures_are_made_once_and_made_anew_when_the_weights_change(
    tiny_evaluation: Path, prompts: tuple[Prompt, ...], tmp_path: Path
) -> None:
    before, made = signal.getsignal(signal.SIGINT), PictureSet(tmp_path / "set", Interrupted(0))
    count = 4 * CHUNK
    assert not made.prepare(prompts)
    try:
        fill(ALONE, missing_chunks([made], count), prompts[:count])
        assert made.missing(count) == [2, 3]
        written = made.chunk(0).stat().st_mtime_ns
        again = PictureSet(made.folder, Rendering(0))
        fill(ALONE, missing_chunks([again], count), prompts[:count])
    finally:
        signal.signal(signal.SIGINT, before)
    assert made.chunk(0).stat().st_mtime_ns == written
    np.testing.assert_array_equal(made.load(count), rendered(prompts[:count], 0))

    pipeline = tmp_path / "pipeline"
    shutil.copytree(tiny_evaluation / "pipeline", pipeline)
    sampled = PictureSet(tmp_path / "sampled", Sampling(System("teacher", pipeline, 1)))
    assert not sampled.prepare(prompts)
    assert not sampled.prepare(prompts)
    random_unet(7).half().save_pretrained(pipeline / "unet")
    assert sampled.prepare(prompts)
    (sampled.folder / "set.json").unlink()  # as an interrupted removal may leave it
    assert sampled.prepare(prompts)


def test_pictures_are_kept_for_more_prompts_and_not_for_others(
    prompts: tuple[Prompt, ...], tmp_path: Path
) -> None:
    made = PictureSet(tmp_path, Rendering(0))
    made.prepare(prompts[: 2 * CHUNK])
    made.write(0, rendered(prompts[:CHUNK], 0))
    assert not made.prepare(prompts[: 4 * CHUNK])
    assert not made.prepare(prompts[:CHUNK])
    other = prompts[: 3 * CHUNK] + prompts[4 * CHUNK : 5 * CHUNK]
    assert made.missing(CHUNK) == []
    assert made.prepare(other), "its last prompts are not those that were asked for before"
    assert made.missing(CHUNK) == [0]


def test_students_of_other_losses_are_compared_with_one_of_the_same_recipe_alone(
    tiny_evaluation: Path, tmp_path: Path
) -> None:
    usual, variant = tmp_path / "2step", tmp_path / "without-conditional"
    for run in (usual, variant):
        random_unet(1).save_pretrained(run / "unet")
    systems = usual_systems(
        tiny_evaluation / "pipeline", tmp_path, guidance_scale=2, ablation={"without": variant}
    )
    stage = usual_stages()[2]
    recipes = {usual: stage, variant: stage.without(["conditional"])}
    for run, recipe in recipes.items():
        assert full_student(systems) is None
        (run / "stage.json").write_text(json.dumps(recipe_of(recipe, 0, 2)))
    found = full_student(systems)
    assert found is not None
    assert found.name == "student, 2 steps"
    shorter = json.dumps(recipe_of(recipes[variant].scaled(0.3), 0, 2))
    (variant / "stage.json").write_text(shorter)
    assert full_student(systems) is None


def test_what_does_not_exist_is_left_out_with_its_reason(tiny_evaluation: Path) -> None:
    systems = usual_systems(
        tiny_evaluation / "pipeline", tiny_evaluation / "students", guidance_scale=2
    )
    found, missing = available(systems)
    assert set(missing) == {"student, 8 steps", "student, 2 steps", "student, 1 step"}
    assert "8step" in missing["student, 8 steps"]
    assert {s.timestep_spacing for s in found} == {"trailing", "leading", "linspace"}
    with pytest.raises(FileNotFoundError, match="leyden-train export"):
        available(
            usual_systems(
                tiny_evaluation / "nowhere", tiny_evaluation / "students", guidance_scale=2
            )
        )
