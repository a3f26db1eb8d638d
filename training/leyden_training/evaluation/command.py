"""`leyden-train evaluate`: from its arguments to a page."""

import argparse
from pathlib import Path

from leyden_training.distillation.command import ABLATION_STEPS, ablation_runs, is_finished
from leyden_training.evaluation.evaluation import (
    EvaluationSettings,
    evaluate,
    native_px,
    picture_sets,
)
from leyden_training.evaluation.prompts import held_out_prompts
from leyden_training.evaluation.report import PAGE, write_report
from leyden_training.evaluation.systems import STUDENT_STEPS, available, usual_systems

__all__ = ["run", "trained_variants"]


def run(arguments: argparse.Namespace) -> None:
    """Evaluate what is there and write the report.

    Raises:
        FileNotFoundError: a stage that is needed has not been run.
        SystemExit: an argument is out of range.

    """
    folder: Path = arguments.folder
    ablation = trained_variants(folder, arguments.ablation_steps) | dict(arguments.ablation or ())
    try:
        settings = EvaluationSettings(
            pictures=arguments.pictures,
            draws=arguments.draws,
            speed_rounds=arguments.speed_rounds,
        )
        systems, missing = available(
            usual_systems(
                arguments.teacher,
                folder / "students",
                guidance_scale=arguments.guidance,
                ablation=ablation,
                ablation_steps=arguments.ablation_steps,
            )
        )
        for name, why in missing.items():
            print(f"{name}: left out, {why}", flush=True)
        result = evaluate(
            systems,
            data=folder / "data",
            classifier=folder / "classifier",
            folder=folder / "evaluation",
            settings=settings,
            workers=arguments.workers,
        )
    except ValueError as error:
        raise SystemExit(f"leyden-train: {error}") from error
    out: Path = arguments.report or folder / "evaluation" / "report"
    prompts = held_out_prompts(settings.pictures, native_px(systems[0]), folder / "data")
    students = {
        f"{steps} step{'s' if steps > 1 else ''}": folder / "students" / f"{steps}step"
        for steps in STUDENT_STEPS
    }
    write_report(
        result,
        out,
        sets=picture_sets(systems, folder / "evaluation"),
        captions=[prompt.text for prompt in prompts],
        runs={
            **{name: folder / name for name in ("vae", "teacher", "classifier")},
            **students,
            **ablation,
        },
        left_out=tuple(missing),
    )
    print(out / PAGE)


def trained_variants(folder: Path, steps: int) -> dict[str, Path]:
    """Return the run folders of the finished variants of `leyden-train ablation`, by name."""
    runs = ablation_runs(folder) if steps == ABLATION_STEPS else {}
    return {name: run for name, run in runs.items() if is_finished(run)}
