"""Each loss acts, and one that is switched off is not there."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import UNet2DConditionModel
from support.tiny_training import ALONE
from torch import nn

from leyden_training.distillation import training
from leyden_training.distillation.adversarial import AdversarialLosses
from leyden_training.distillation.discriminator import Discriminator
from leyden_training.distillation.lesson import Lesson, draw_lesson, load_text_encoders
from leyden_training.distillation.stage import PARTS, Part, Stage
from leyden_training.distillation.steps import NoiseLevels, step
from leyden_training.distillation.training import TrainingState, distil, train_on
from leyden_training.latents import load_latents
from leyden_training.precision import mixed_precision
from leyden_training.run_folder import read_checkpoint
from leyden_training.teacher import predict

pytestmark = pytest.mark.usefixtures("alone")

CPU = torch.device("cpu")
LEVELS = NoiseLevels.of_sdxl(CPU)
STAGE = Stage(
    steps=4,
    teacher_steps=8,
    distillation_iterations=10,
    conditional_iterations=10,
    unconditional_iterations=10,
    batch=2,
)
BOTH: tuple[Part, Part] = ("conditional", "unconditional")


@pytest.fixture(scope="module")
def teacher(tiny_folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_folder / "base" / "unet", dtype=torch.float32)


@pytest.fixture(scope="module")
def lesson(tiny_folder: Path, teacher: UNet2DConditionModel) -> Lesson:
    return draw_lesson(
        load_latents(tiny_folder / "latents"),
        teacher,
        load_text_encoders(tiny_folder / "base", CPU),
        levels=LEVELS,
        stage=STAGE,
        random=np.random.default_rng(0),
        device=CPU,
    )


def weights_after(
    teacher: UNet2DConditionModel, lesson: Lesson, stage: Stage, iteration: int
) -> tuple[dict[str, float], torch.Tensor, bool, bool]:
    """What one iteration gives: its figures, the student's weights, which heads were trained."""
    torch.manual_seed(0)
    state = TrainingState(teacher, stage, CPU)
    state.iteration = iteration
    heads = [
        next(head.parameters())
        for head in (state.discriminator.conditional_heads, state.discriminator.unconditional_heads)
    ]
    before = [head.detach().clone() for head in heads]
    encoder = state.discriminator.encoder.conv_in.weight.detach().clone()
    values = train_on(state, lesson, LEVELS, np.random.default_rng(1), ALONE)
    trained = [not torch.equal(head, b) for head, b in zip(heads, before, strict=True)]
    changed = not torch.equal(state.discriminator.encoder.conv_in.weight, encoder)
    assert changed == any(trained)
    student = torch.cat([p.detach().reshape(-1) for p in state.student.parameters()])
    return values, student, trained[0], trained[1]


DISTANCE = {"distillation"}
JUDGED = {"generator", "discriminator", "accuracy"}


@pytest.mark.parametrize(
    ("without", "iteration", "measured", "heads"),
    [
        ((), 5, DISTANCE, (False, False)),
        ((), 15, DISTANCE | JUDGED | {"features"}, (True, True)),
        ((), 25, DISTANCE | JUDGED | {"features"}, (False, True)),
        (("conditional",), 15, DISTANCE | JUDGED | {"features"}, (False, True)),
        (("unconditional",), 25, DISTANCE | JUDGED | {"features"}, (True, False)),
        (("feature-matching",), 15, DISTANCE | JUDGED, (True, True)),
        (("feature-matching",), 25, DISTANCE | JUDGED, (False, True)),
        (BOTH, 15, DISTANCE | {"features"}, (False, False)),
        (BOTH, 25, DISTANCE | {"features"}, (False, False)),
        (("adversarial",), 15, DISTANCE, (False, False)),
        (("adversarial",), 25, DISTANCE, (False, False)),
        (("distillation",), 5, DISTANCE | JUDGED | {"features"}, (True, True)),
    ],
)
def test_what_is_off_is_neither_measured_nor_trained_by(
    teacher: UNet2DConditionModel,
    lesson: Lesson,
    without: tuple[Part, ...],
    iteration: int,
    measured: set[str],
    heads: tuple[bool, bool],
) -> None:
    found = weights_after(teacher, lesson, STAGE.without(without), iteration)
    assert set(found[0]) == measured
    assert found[2:] == heads


@pytest.mark.parametrize(
    ("part", "iteration"),
    [("distillation", 15), ("conditional", 15), ("unconditional", 25), ("feature-matching", 15)],
)
def test_each_loss_moves_the_student(
    teacher: UNet2DConditionModel, lesson: Lesson, part: Part, iteration: int
) -> None:
    """Twice the same is the same to the bit, so what differs is the loss."""
    full, again, without = (
        weights_after(teacher, lesson, stage, iteration)[1]
        for stage in (STAGE, STAGE, STAGE.without([part]))
    )
    torch.testing.assert_close(full, again, rtol=0, atol=0)
    assert (full != without).float().mean() > 0.01


def gradient_of(
    teacher: UNet2DConditionModel,
    lesson: Lesson,
    stage: Stage,
    iteration: int,
    monkeypatch: pytest.MonkeyPatch,
) -> torch.Tensor:
    """What the student's end is given as its gradient in one iteration."""
    torch.manual_seed(0)
    state = TrainingState(teacher, stage, CPU)
    state.iteration = iteration
    given: list[torch.Tensor] = []
    update = training._update

    def seen(module: nn.Module, *more: Any) -> None:
        if module is state.student:
            given.append(more[-1])
        update(module, *more)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_update", seen)
        train_on(state, lesson, LEVELS, np.random.default_rng(1), ALONE)
    return given[0]


@pytest.mark.parametrize(("iteration", "risen"), [(10, 0.05), (19, 0.5), (29, 1), (45, 1)])
def test_the_adversarial_pull_rises_to_its_share_of_the_distillation_loss(
    teacher: UNet2DConditionModel,
    lesson: Lesson,
    monkeypatch: pytest.MonkeyPatch,
    iteration: int,
    risen: float,
) -> None:
    stage = replace(STAGE, conditional_iterations=30, adversarial_share=3.0)
    both, alone = (
        gradient_of(teacher, lesson, s, iteration, monkeypatch)
        for s in (stage, replace(stage, adversarial_share=0.0))
    )
    assert ((both - alone).norm() / alone.norm()).item() == pytest.approx(3 * risen, rel=1e-3)


def test_ends_that_are_the_same_pull_nowhere(
    teacher: UNet2DConditionModel, lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mixed_precision(CPU), torch.no_grad():
        prediction = predict(teacher, lesson.start, lesson.timesteps, lesson.condition).float()
    end = step(
        lesson.start,
        prediction,
        levels=LEVELS,
        timesteps=lesson.timesteps,
        next_timesteps=lesson.next_timesteps,
    )
    same = replace(lesson, teacher_end=end)
    assert gradient_of(teacher, same, STAGE, 15, monkeypatch).abs().max() == 0
    off = STAGE.without(["distillation"])
    assert gradient_of(teacher, lesson, off, 25, monkeypatch).norm().item() == pytest.approx(1)


def test_both_ends_are_seen_under_the_same_noise_at_no_less_than_their_own(
    teacher: UNet2DConditionModel, lesson: Lesson
) -> None:
    losses = AdversarialLosses(Discriminator(teacher), LEVELS, STAGE, conditional=True)
    for seed in range(5):
        random = np.random.default_rng(seed)
        views = losses.views(lesson, lesson.teacher_end, random)
        torch.testing.assert_close(views.student, views.teacher, rtol=0, atol=0)
        assert (views.timesteps >= lesson.next_timesteps).all()


@pytest.mark.parametrize("conditional", [True, False])
def test_the_discriminator_learns_which_of_two_ends_is_the_teachers(
    tiny_folder: Path, teacher: UNet2DConditionModel, conditional: bool
) -> None:
    """Ends that lack sharpness, as those of a student of few steps do, of steps not seen before."""
    torch.manual_seed(0)
    discriminator = Discriminator(teacher)
    optimizer = torch.optim.AdamW(discriminator.parameters(), 1e-3, betas=(0.0, 0.98))
    losses = AdversarialLosses(discriminator, LEVELS, STAGE, conditional)
    dataset = load_latents(tiny_folder / "latents")
    encode = load_text_encoders(tiny_folder / "base", CPU)
    told, pushed = [], []
    for number in range(60):
        random = np.random.default_rng(number)
        lesson = draw_lesson(
            dataset,
            teacher,
            encode,
            levels=LEVELS,
            stage=replace(STAGE, batch=8),
            random=random,
            device=CPU,
        )
        sharp = lesson.teacher_end
        soft = F.interpolate(F.avg_pool2d(sharp, 2), scale_factor=2.0).requires_grad_()
        values: dict[str, float] = {}
        views = losses.views(lesson, soft, random)
        (gradient,) = torch.autograd.grad(losses.of_student(lesson, views, values), soft)
        pushed.append((gradient * (soft - sharp).detach()).sum().item())
        loss = losses.of_discriminator(lesson, views, values)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        told.append(values["accuracy"])
    assert np.mean(told[-20:]) > 0.9
    assert np.mean(pushed[-20:]) > 0, "the student would be pushed away from its teacher"


@pytest.mark.parametrize(
    ("without", "lengths"),
    [
        ((), (10, 10, 10)),
        (("conditional",), (10, 0, 20)),
        (("unconditional",), (10, 20, 0)),
        (BOTH, (10, 10, 10)),
        (("adversarial",), (10, 10, 10)),
        (("distillation",), (0, 20, 10)),
        (("distillation", "conditional"), (0, 0, 30)),
    ],
)
def test_iterations_of_what_is_off_go_to_what_is_left(
    without: tuple[Part, ...], lengths: tuple[int, int, int]
) -> None:
    stage = STAGE.without(without)
    assert lengths == (
        stage.distillation_iterations,
        stage.conditional_iterations,
        stage.unconditional_iterations,
    )
    assert stage.iterations == STAGE.iterations


def test_no_loss_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="without adversarial, distillation no loss is left"):
        STAGE.without(["distillation", "adversarial"])
    with pytest.raises(ValueError, match="no loss is left"):
        STAGE.without([part for part in PARTS if part != "adversarial"])


def test_a_run_without_adversarial_losses_leaves_their_columns_empty(
    tiny_folder: Path, tmp_path: Path, teacher: UNet2DConditionModel
) -> None:
    curves = {}
    for name, stage in (("full", STAGE), ("without", STAGE.without(["adversarial"]))):
        distil(
            ALONE,
            pipeline_folder=tiny_folder / "base",
            teacher_unet=tiny_folder / "base" / "unet",
            latents=tiny_folder / "latents",
            run=tmp_path / name,
            stage=stage,
            seed=0,
        )
        with (tmp_path / name / "curve.csv").open(newline="") as file:
            curves[name] = list(csv.DictReader(file))
    for column in ("generator", "discriminator", "accuracy", "features"):
        assert [row[column] == "nan" for row in curves["full"]] == [True, False, False]
        assert [row[column] for row in curves["without"]] == ["nan"] * 3
    saved = read_checkpoint(tmp_path / "without")
    assert saved is not None
    kept = saved["discriminator"]["encoder.conv_in.weight"]
    torch.testing.assert_close(kept, teacher.conv_in.weight.detach(), rtol=0, atol=0)
