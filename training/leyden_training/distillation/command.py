"""`leyden-train distil`, `ablation` and `package`: which students, of what, in which folders."""

import argparse
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from leyden_training.distillation.lora import write_lora
from leyden_training.distillation.stage import PARTS, Part, Stage, usual_stages
from leyden_training.distillation.training import check_recipe, distil, is_of_recipe
from leyden_training.packaging import package
from leyden_training.parts import require_pipeline, require_sdxl_noise
from leyden_training.workers import run_workers, worker_count

__all__ = [
    "ABLATION_FROM",
    "ABLATION_SCALE",
    "ABLATION_STEPS",
    "FULL",
    "VARIANTS",
    "ablation",
    "ablation_runs",
    "distil_all",
    "distil_is_finished",
    "is_finished",
    "package_all",
    "student_run",
    "unfinished_variants",
]

ABLATION_STEPS, ABLATION_FROM = 2, 4
"""Steps of the ablation's students, and of the finished student that teaches them: at 4 steps
a student begins so near its teacher that no loss makes a difference that shows."""

ABLATION_SCALE = 0.3
"""Length of the ablation's runs: short of what it takes to be told from the teacher no more."""

LORA = "lora.safetensors"
FULL = "full"
VARIANTS: Mapping[str, tuple[Part, ...]] = {
    FULL: (),
    **{f"without-{part}": (part,) for part in PARTS},
}
"""Parts that are switched off, by the variant's name."""


def student_run(folder: Path, steps: int, without: Collection[Part] = ()) -> Path:
    """Return the run folder of a student of so many steps: one of its own for each set of parts."""
    name = "-".join(["students", *(["without", *sorted(set(without))] if without else [])])
    return folder / name / f"{steps}step"


def ablation_runs(folder: Path) -> dict[str, Path]:
    """Return the run folders of the ablation, by the variants' names."""
    return {name: folder / "ablation" / name for name in VARIANTS}


def is_finished(run: Path) -> bool:
    """Whether a student's run has come to its end."""
    return (run / "unet").exists()


def distil_all(arguments: argparse.Namespace) -> None:
    """Distil students of 8, 4, 2 and 1 steps, each taught by the one before it.

    Raises:
        FileNotFoundError: the teacher or the latents are missing.
        KeyboardInterrupt: it was stopped.
        ValueError: no loss is left, the teacher's steps are no multiple of 8, it has other noise
            than SDXL, or a run in the folder was begun by another recipe.

    """
    pipeline: Path = arguments.teacher
    teacher_unet = pipeline / "unet"
    without: list[Part] = arguments.without or []
    for usual in _stages(arguments):
        run = student_run(arguments.folder, usual.steps, without)
        stage = _lengthened(usual, arguments).without(without)
        _train(arguments, stage, teacher_unet, run)
        write_lora(pipeline / "unet", run / "unet", run / LORA, arguments.rank)
        teacher_unet = run / "unet"


def distil_is_finished(arguments: argparse.Namespace) -> bool:
    """Whether every student is there, and as a LoRA too."""
    without: list[Part] = arguments.without or []
    runs = [student_run(arguments.folder, s.steps, without) for s in _stages(arguments)]
    return all(is_finished(run) and (run / LORA).exists() for run in runs)


def package_all(arguments: argparse.Namespace) -> None:
    """Write the teacher and its students as models of a repository.

    Raises:
        FileNotFoundError: the teacher or a student is missing.

    """
    students = {
        stage.steps: (student_run(arguments.folder, stage.steps) / "unet", stage.prediction)
        for stage in usual_stages()
        if stage.steps >= arguments.down_to
    }
    size = package(require_pipeline(arguments.teacher), students, arguments.out)
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


def _stages(arguments: argparse.Namespace) -> list[Stage]:
    stages = usual_stages(arguments.teacher_steps, arguments.guidance)
    return [stage for stage in stages if stage.steps >= arguments.down_to]


def ablation(arguments: argparse.Namespace) -> None:
    """Train the 2-step student once for each variant, all from the same 4-step student.

    The usual student stands for the full one if it was trained by the same recipe.

    Raises:
        FileNotFoundError: the teacher, the latents or the 4-step student are missing.
        KeyboardInterrupt: it was stopped.
        ValueError: the teacher has other noise than SDXL, or a run in the folder was begun by
            another recipe.

    """
    folder: Path = arguments.folder
    taught_by = student_run(folder, ABLATION_FROM)
    if not is_finished(taught_by):
        raise FileNotFoundError(f"{taught_by} holds no finished student: run `leyden-train distil`")
    for name in unfinished_variants(arguments):
        stage, run = _variant(arguments, name), ablation_runs(folder)[name]
        _train(arguments, stage, taught_by / "unet", run)


def unfinished_variants(arguments: argparse.Namespace) -> list[str]:
    """List the variants that are still to be trained, in order."""
    folder: Path = arguments.folder
    usual, workers = student_run(folder, ABLATION_STEPS), worker_count(arguments.workers)
    finished = {name for name, run in ablation_runs(folder).items() if is_finished(run)}
    if is_of_recipe(usual, _variant(arguments, FULL), arguments.seed, workers):
        finished.add(FULL)
    return [name for name in arguments.variant or VARIANTS if name not in finished]


def _variant(arguments: argparse.Namespace, name: str) -> Stage:
    usual = next(stage for stage in usual_stages() if stage.steps == ABLATION_STEPS)
    return _lengthened(usual, arguments).without(VARIANTS[name])


def _lengthened(stage: Stage, arguments: argparse.Namespace) -> Stage:
    return replace(stage, batch=arguments.batch or stage.batch).scaled(arguments.scale)


def _train(arguments: argparse.Namespace, stage: Stage, teacher_unet: Path, run: Path) -> None:
    """Train one student unless it is finished."""
    check_recipe(run, stage, arguments.seed)
    if is_finished(run):
        return
    pipeline, latents = require_sdxl_noise(arguments.teacher), arguments.folder / "latents"
    if not (latents / "buckets.json").exists():
        raise FileNotFoundError(f"{latents} holds no latents: run `leyden-train latents`")
    run_workers(
        distil,
        {
            "pipeline_folder": pipeline,
            "teacher_unet": teacher_unet,
            "latents": latents,
            "run": run,
            "stage": stage,
            "seed": arguments.seed,
        },
        arguments.workers,
    )
    if not is_finished(run):
        raise KeyboardInterrupt
