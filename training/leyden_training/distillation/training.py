"""One stage of distillation: the student learns where several steps of its teacher end."""

import copy
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from leyden_training.averaging import average_of
from leyden_training.distillation.adversarial import AdversarialLosses
from leyden_training.distillation.discriminator import Discriminator
from leyden_training.distillation.lesson import Lesson, draw_lesson, load_text_encoders
from leyden_training.distillation.stage import Stage
from leyden_training.distillation.steps import NoiseLevels, step
from leyden_training.latents import load_latents
from leyden_training.optimizer import set_learning_rate
from leyden_training.precision import mixed_precision, set_fast_attention
from leyden_training.progress import training_progress
from leyden_training.run_folder import RunFolder, StopRequest
from leyden_training.schedule import learning_rate_at
from leyden_training.teacher import predict
from leyden_training.workers import Workers, on_device

__all__ = ["check_recipe", "differ_in_losses_alone", "distil", "is_of_recipe"]
__all__ += ["recipe_of"]

RECIPE = "stage.json"
CURVE = ("distillation", "generator", "discriminator", "accuracy", "features", "s")


def distil(
    workers: Workers,
    *,
    pipeline_folder: Path,
    teacher_unet: Path,
    latents: Path,
    run: Path,
    stage: Stage,
    seed: int,
) -> None:
    """Train one stage's student until it is done or the run is told to stop.

    Args:
        workers: the process's place.
        pipeline_folder: a diffusers SDXL folder, for its text encoders.
        teacher_unet: folder of the teacher's UNet; the student starts as its copy.
        latents: folder that `cache_latents` wrote with the same pipeline's VAE and tokenizers.
        run: folder of the run; a checkpoint there is gone on from. The recipe that it began with
            is in `stage.json` there, the finished student's averaged weights, in float16, in
            `unet`.
        stage: the recipe.
        seed: of everything random.

    """
    folder, stop = RunFolder(run, workers), StopRequest()
    torch.manual_seed(seed)
    teacher = UNet2DConditionModel.from_pretrained(teacher_unet).float().requires_grad_(False)
    set_fast_attention(teacher, workers.device)
    state = TrainingState(on_device(teacher, workers.device).eval(), stage, workers.device)
    if saved := folder.load():
        state.load(saved)
    elif workers.first:
        recipe = recipe_of(stage, seed, workers.count)
        (run / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n")
    levels = NoiseLevels.of_sdxl(workers.device)
    encode = load_text_encoders(pipeline_folder, workers.device)
    dataset = load_latents(latents)
    title = f"{stage.steps}-step student"
    with training_progress(title, stage.iterations, state.iteration, workers) as progress:
        while state.iteration < stage.iterations and not workers.any(stop.asked):
            started = time.perf_counter()
            random = np.random.default_rng([seed, state.iteration, workers.rank])
            lesson = draw_lesson(
                dataset,
                teacher,
                encode,
                levels=levels,
                stage=stage,
                random=random,
                device=workers.device,
            )
            values = train_on(state, lesson, levels, random, workers)
            values["s"] = time.perf_counter() - started
            progress(state.iteration, values)
            if state.iteration % 10 == 0:
                row = {name: values.get(name, float("nan")) for name in CURVE}
                folder.record(state.iteration, row)
            if folder.checkpoint_is_due():
                folder.save(state.checkpoint())
    folder.save(state.checkpoint())
    if workers.first and state.iteration == stage.iterations:
        student: UNet2DConditionModel = state.average.module
        part = run / "unet.part"
        shutil.rmtree(part, ignore_errors=True)
        student.half().save_pretrained(part)
        part.rename(run / "unet")


def recipe_of(stage: Stage, seed: int, workers: int) -> dict[str, Any]:
    """Return what a student's training is determined by, beside its data and its teacher."""
    return {"stage": asdict(stage), "seed": seed, "workers": workers}


def is_of_recipe(run: Path, stage: Stage, seed: int, workers: int) -> bool:
    """Whether a run is finished and was of this recipe."""
    return (run / "unet").exists() and _begun_with(run) == recipe_of(stage, seed, workers)


def check_recipe(run: Path, stage: Stage, seed: int) -> None:
    """Check that a run that has begun is gone on with as it was begun; by how many is its own.

    Raises:
        ValueError: it was begun by another recipe.

    """
    begun = _begun_with(run)
    if begun is not None and begun != recipe_of(stage, seed, begun["workers"]):
        raise ValueError(
            f"{run} was begun by another recipe, which {RECIPE} there has: "
            "go on by that, or remove the folder"
        )


def differ_in_losses_alone(run: Path, other: Path) -> bool:
    """Whether two runs were as long and by the same recipe otherwise; not if one's is unknown."""
    recipes = [_begun_with(run), _begun_with(other)]
    found = []
    for recipe in recipes:
        if recipe is None:
            return False
        stage = {name: v for name, v in recipe["stage"].items() if name != "weights"}
        iterations = sum(stage.pop(name) for name in list(stage) if name.endswith("_iterations"))
        found.append({**recipe, "stage": stage, "iterations": iterations})
    return bool(found[0] == found[1])


def _begun_with(run: Path) -> dict[str, Any] | None:
    file = run / RECIPE
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found


class TrainingState:
    """Everything that a checkpoint keeps."""

    def __init__(self, teacher: UNet2DConditionModel, stage: Stage, device: torch.device) -> None:
        self.stage = stage
        self.iteration = 0
        self.student = copy.deepcopy(teacher).requires_grad_(True)
        self.average = average_of(self.student, stage.ema_decay)
        self.discriminator = on_device(Discriminator(teacher), device)
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), stage.learning_rate, betas=(0.5, 0.98), weight_decay=0.0
        )
        self.discriminator_optimizer = torch.optim.AdamW(
            self.discriminator.parameters(),
            stage.discriminator_learning_rate,
            betas=(0.0, 0.98),
            weight_decay=0.0,
        )
        self._parts: dict[str, Any] = {
            "student": self.student,
            "average": self.average,
            "discriminator": self.discriminator,
            "optimizer": self.optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def checkpoint(self) -> dict[str, Any]:
        """Return what `load` takes."""
        states = {name: part.state_dict() for name, part in self._parts.items()}
        return {"iteration": self.iteration, **states}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go back to where `checkpoint` was taken."""
        self.iteration = saved["iteration"]
        for name, part in self._parts.items():
            part.load_state_dict(saved[name])


def train_on(
    state: TrainingState,
    lesson: Lesson,
    levels: NoiseLevels,
    random: np.random.Generator,
    workers: Workers,
) -> dict[str, float]:
    """Run one iteration: the student's update and, where it is on, the discriminator's."""
    stage, iteration, student = state.stage, state.iteration, state.student
    rate = learning_rate_at(
        iteration, total=stage.iterations, peak=1, warmup=20, cooldown=stage.iterations // 3
    )
    set_learning_rate([state.optimizer], stage.learning_rate * rate)
    with mixed_precision(lesson.start.device):
        prediction = predict(student, lesson.start, lesson.timesteps, lesson.condition)
    end = step(
        lesson.start,
        prediction.float(),
        levels=levels,
        timesteps=lesson.timesteps,
        next_timesteps=lesson.next_timesteps,
        prediction_type=stage.prediction,
    )
    # The losses see the end by itself; their gradients there then go through the student once.
    seen = end.detach().requires_grad_()
    distance = F.mse_loss(seen, lesson.teacher_end)
    values = {"distillation": distance.item()}
    (of_distance,) = torch.autograd.grad(distance, seen)
    gradient = stage.weights.distillation * of_distance
    conditional = stage.conditional_at(iteration)
    if stage.weights.adversarial and (conditional or stage.unconditional_at(iteration)):
        adversarial = AdversarialLosses(state.discriminator, levels, stage, conditional)
        views = adversarial.views(lesson, seen, random)
        (judged,) = torch.autograd.grad(adversarial.of_student(lesson, views, values), seen)
        beside = gradient.norm() if stage.weights.distillation else 1.0
        # Nothing to divide by where both ends are the same: there is no pull then either.
        size = beside / judged.norm().clamp(min=torch.finfo(judged.dtype).tiny)
        pull = stage.adversarial_share_at(iteration) * size * judged
        _update(student, state.optimizer, end, workers, gradient + pull)
        if adversarial.weight:
            loss = adversarial.of_discriminator(lesson, views, values)
            _update(state.discriminator, state.discriminator_optimizer, loss, workers)
    else:
        _update(student, state.optimizer, end, workers, gradient)
    state.average.update_parameters(student)
    state.iteration += 1
    return values


def _update(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    outcome: Tensor,
    workers: Workers,
    gradient: Tensor | None = None,
) -> None:
    """Update by the gradient of a loss, or by that of an outcome of any shape, which is given."""
    optimizer.zero_grad(set_to_none=True)
    outcome.backward(gradient)
    workers.average_gradients(module.parameters())
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
