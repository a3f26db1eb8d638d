"""`leyden-train all`: every stage in turn, each by its own command line."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leyden_training.data.dataset import load_dataset
from leyden_training.distillation.command import (
    ABLATION_SCALE,
    distil_is_finished,
    unfinished_variants,
)
from leyden_training.evaluation.classifier_training import ClassifierSettings
from leyden_training.evaluation.evaluation import EvaluationSettings
from leyden_training.evaluation.pictures import CHUNK
from leyden_training.run_folder import has_reached, read_checkpoint
from leyden_training.stages import curves_are_drawn, require_matplotlib, teacher_settings
from leyden_training.teacher_training import TeacherSettings
from leyden_training.timings import Timings
from leyden_training.vae_training import VaeSettings, shortened

__all__ = ["PICTURES", "run"]

PICTURES = 10_000
"""Of the data set that the embedded models are trained on."""

LEAST = {"pictures": 16, "draws": 50, "speed_rounds": 1}
"""Sizes of the shortest evaluation, by its options. From a scale of 1 up it has the usual ones."""

Parse = Callable[[Sequence[str]], argparse.Namespace]


@dataclass(frozen=True)
class Stage:
    """One command of `leyden-train`."""

    command: tuple[str, ...]
    """Its name and its options."""

    is_finished: Callable[[argparse.Namespace], bool]
    """Whether what these arguments ask for is there."""


def run(arguments: argparse.Namespace, parse: Parse) -> None:
    """Run every stage that is not finished.

    Args:
        arguments: of `leyden-train all`.
        parse: the parser of the whole command line.

    Raises:
        KeyboardInterrupt: a stage was stopped before its end.
        ValueError: the folder was begun with other settings.

    """
    require_matplotlib()
    folder: Path = arguments.folder
    timings = Timings(folder)
    vae = None if arguments.vae is None else str(arguments.vae)
    timings.settle({"scale": arguments.scale, "vae": vae})
    common = ["--folder", str(folder)]
    for option in ("workers", "shape"):
        if (value := getattr(arguments, option)) is not None:
            common += [f"--{option}", str(value)]
    for stage in whole_run(folder, arguments.scale, vae):
        name = stage.command[0]
        own = parse([*common, *stage.command])
        if stage.is_finished(own):
            print(f"{name}: finished already", flush=True)
            continue
        print(f"leyden-train {' '.join(stage.command)}", flush=True)
        with timings.measured(name, arguments.workers):
            own.run(own)
        if not stage.is_finished(own):
            raise KeyboardInterrupt


def whole_run(folder: Path, scale: float, vae: str | None) -> list[Stage]:
    """List the stages, from pictures to the report.

    Args:
        folder: where everything goes; the teacher's diffusers folder is `base` there.
        scale: length of each training and number of pictures, as a factor.
        vae: folder of a whitened VAE to take in place of training one.

    """
    base, factor = str(folder / "base"), str(scale)
    iterations = max(1, round(ClassifierSettings().iterations * scale))
    own_vae = [Stage(("vae", "--scale", factor), _vae_is_finished)]
    return [
        Stage(("render", "--count", str(max(1, round(PICTURES * scale)))), _is_rendered),
        *(own_vae if vae is None else []),
        Stage(("latents", *(["--vae", vae] if vae else [])), _has("latents/buckets.json")),
        Stage(("teacher", *_teacher_lengths(folder, scale)), _teacher_is_finished),
        Stage(("export", base), _has("base/model_index.json")),
        Stage(("classifier", "--iterations", str(iterations)), _has("classifier/classifier.pt")),
        Stage(("distil", base, "--scale", factor), distil_is_finished),
        Stage(
            ("ablation", base, "--scale", str(ABLATION_SCALE * scale)),
            lambda own: not unfinished_variants(own),
        ),
        Stage(("curves",), curves_are_drawn),
        Stage(
            ("evaluate", base, *_evaluation_sizes(scale)),
            _has("evaluation/report/distillation.md"),
        ),
    ]


def _has(file: str) -> Callable[[argparse.Namespace], bool]:
    """Return whether the folder has a file that a stage writes last."""
    return lambda own: (own.folder / file).exists()


def _is_rendered(own: argparse.Namespace) -> bool:
    try:
        return bool(load_dataset(own.folder / "data").count == own.count)
    except FileNotFoundError:
        return False


def _vae_is_finished(own: argparse.Namespace) -> bool:
    """Also where `latents` took its VAE already, be it one from elsewhere: it keeps that one."""
    if has_reached(own.folder / "vae", shortened(VaeSettings(), own.scale).iterations):
        return True
    return bool((own.folder / "latents" / "vae").exists())


def _teacher_lengths(folder: Path, scale: float) -> list[str]:
    """Return the options of a new run; one that has begun keeps its own."""
    if read_checkpoint(folder / "teacher") is not None:
        return []
    settings, options = TeacherSettings(), []
    for name in ("half_iterations", "whole_iterations", "cooldown"):
        length = max(1, round(getattr(settings, name) * scale))
        options += [f"--{name.replace('_', '-')}", str(length)]
    return options


def _evaluation_sizes(scale: float) -> list[str]:
    options = []
    for name, least in LEAST.items():
        usual: int = getattr(EvaluationSettings, name)
        size = max(least, round(usual * min(1.0, scale)))
        size -= size % CHUNK if name == "pictures" else 0
        options += [f"--{name.replace('_', '-')}", str(size)]
    return options


def _teacher_is_finished(own: argparse.Namespace) -> bool:
    return has_reached(own.folder / "teacher", teacher_settings(own).iterations)
