"""An evaluation from end to end: pictures, features, tests, wall times, one result.

Everything is on the same held-out prompts. All systems start from the same noise, picture by
picture; the 50-step teacher is run on other noise as well, and the two-sample tests are against
those pictures, so that no two sets in a test share noise. The teacher's own test is the control
that must come out at 0.5.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from leyden_training.evaluation.adherence import OVERALL, adherence
from leyden_training.evaluation.classifier import Judgement, judge, load_classifier
from leyden_training.evaluation.comparisons import Comparison, compare
from leyden_training.evaluation.conditions import conditions
from leyden_training.evaluation.frechet import bootstrap_distances, distance_of_sets
from leyden_training.evaluation.intervals import resamples
from leyden_training.evaluation.pictures import (
    CHUNK,
    PictureSet,
    Reconstruction,
    Rendering,
    Sampling,
    Source,
    fill,
    missing_chunks,
)
from leyden_training.evaluation.prompts import (
    HELD_OUT_SEED,
    Prompt,
    held_out_prompts,
    stated,
    traits,
    truth,
)
from leyden_training.evaluation.speed import measure_speed
from leyden_training.evaluation.statistics import Description, describe
from leyden_training.evaluation.systems import System, full_student, is_ablation
from leyden_training.evaluation.two_sample import FOLDS, REPEATS, side_by_side, singly
from leyden_training.workers import run_workers

__all__ = ["EvaluationSettings", "evaluate", "native_px", "picture_sets"]

REFERENCE_RENDERINGS = 4
"""Of each prompt's scene; the Fréchet distance is to all of them."""

RENDERED, RECONSTRUCTED = "rendered again", "rendered, through the VAE"
OTHER_NOISE = "other noise"
FORMAT = 1


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is measured."""

    pictures: int = 256
    """Of each system."""

    draws: int = 1000
    """Of the bootstrap."""

    speed_rounds: int = 5

    def __post_init__(self) -> None:
        if self.pictures < 2 * CHUNK or self.pictures % CHUNK:
            raise ValueError(
                f"pictures: {self.pictures} is not a multiple of {CHUNK} from {2 * CHUNK} up"
            )
        for name, value in (("draws", self.draws), ("speed_rounds", self.speed_rounds)):
            if value < 1:
                raise ValueError(f"{name}: {value} is below 1")


def evaluate(
    systems: Sequence[System],
    *,
    data: Path,
    classifier: Path,
    folder: Path,
    settings: EvaluationSettings,
    workers: int | None = None,
) -> dict[str, Any]:
    """Measure all systems against the first; an interrupted evaluation is gone on with.

    Args:
        systems: the first is the teacher that the others are compared with.
        data: folder of the data set that they were trained on.
        classifier: run folder of the attribute classifier.
        folder: where pictures and answers are kept.
        settings: how much to measure.
        workers: processes; one for each core by default, one with a GPU.

    Returns:
        The result, as it is written to `results.json` there.

    Raises:
        FileNotFoundError: a stage that is needed has not been run.
        KeyboardInterrupt: it was stopped; what is finished is kept.

    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judging = load_classifier(classifier, device)
    side = native_px(systems[0])
    prompts = held_out_prompts(settings.pictures, side, data)
    sets = picture_sets(systems, folder)
    for name, picture_set in sets.items():
        if picture_set.prepare(prompts):
            print(f"{name}: made anew, its weights, renderer or prompts have changed")
    if chunks := missing_chunks(sets.values(), settings.pictures):
        run_workers(fill, {"jobs": chunks, "prompts": prompts}, workers)
    if missing_chunks(sets.values(), settings.pictures):
        raise KeyboardInterrupt

    comparisons = _comparisons(systems, prompts, sets, folder, classifier)
    described = {d.file: d for c in comparisons.values() for d in (c.first, c.second)}
    if descriptions := [d for d in described.values() if d.missing()]:
        run_workers(describe, {"descriptions": descriptions}, workers)
    if any(d.missing() for d in described.values()):
        raise KeyboardInterrupt
    if unanswered := [c for c in comparisons.values() if c.missing()]:
        run_workers(compare, {"comparisons": unanswered}, workers)
    if any(c.missing() for c in comparisons.values()):
        raise KeyboardInterrupt

    judged = {name: judge(judging, s.load(settings.pictures)) for name, s in sets.items()}
    result = {
        "format": FORMAT,
        "conditions": conditions(),
        "settings": {
            **asdict(settings),
            "native_px": side,
            "reference_pictures": settings.pictures * REFERENCE_RENDERINGS,
            "held_out_seed": HELD_OUT_SEED,
            "folds": FOLDS,
            "repeats": REPEATS,
            "attributes_stated": int(stated(prompts).sum()),
        },
        "classifier": json.loads((classifier / "accuracy.json").read_text()),
        **_figures(systems, prompts, judged, comparisons, settings),
        "speed": _speed(systems, prompts, settings.speed_rounds),
    }
    part = folder / "results.json.part"
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(folder / "results.json")
    return result


def picture_sets(systems: Sequence[System], folder: Path) -> dict[str, PictureSet]:
    """Return every set of an evaluation by its name, in the order of the systems."""
    teacher = systems[0]
    sources: dict[str, Source] = {system.name: Sampling(system) for system in systems}
    sources[f"{teacher.name}, {OTHER_NOISE}"] = Sampling(teacher, block=1)
    for number in range(REFERENCE_RENDERINGS):
        sources[_reference(number)] = Rendering(number)
    sources[RENDERED] = Rendering(REFERENCE_RENDERINGS)
    sources[RECONSTRUCTED] = Reconstruction(teacher.pipeline, REFERENCE_RENDERINGS)
    return {
        name: PictureSet(folder / "pictures" / _file_name(name), source)
        for name, source in sources.items()
    }


def _reference(number: int) -> str:
    return f"reference {number}"


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def native_px(system: System) -> int:
    """Return the side of the pictures that a system's UNet is made for."""
    config = json.loads((system.pipeline / "unet" / "config.json").read_text())
    vae = json.loads((system.pipeline / "vae" / "config.json").read_text())
    side: int = config["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    return side


def _comparisons(
    systems: Sequence[System],
    prompts: tuple[Prompt, ...],
    sets: dict[str, PictureSet],
    folder: Path,
    classifier: Path,
) -> dict[str, Comparison]:
    def described(name: str) -> Description:
        file = folder / "statistics" / f"{_file_name(name)}.npz"
        return Description(file, sets[name], len(prompts), classifier)

    against, known = described(f"{systems[0].name}, {OTHER_NOISE}"), traits(prompts)
    return {
        system.name: Comparison(
            folder / "two-sample" / f"{_file_name(system.name)}.json",
            described(system.name),
            against,
            known,
        )
        for system in systems
    }


def _figures(
    systems: Sequence[System],
    prompts: tuple[Prompt, ...],
    judged: dict[str, Judgement],
    comparisons: dict[str, Comparison],
    settings: EvaluationSettings,
) -> dict[str, Any]:
    draws = resamples(len(prompts), settings.draws)
    reference = np.stack(
        [judged[_reference(number)].features for number in range(REFERENCE_RENDERINGS)], axis=1
    )
    controls = (f"{systems[0].name}, {OTHER_NOISE}", RENDERED, RECONSTRUCTED)
    names = [*(system.name for system in systems), *controls]
    features = {name: judged[name].features for name in names}
    distances = bootstrap_distances(reference, features, draws)
    flat = reference.reshape(-1, reference.shape[2])
    wanted, said = truth(prompts), stated(prompts)
    adherences = {name: adherence(judged[name].classes, wanted, said, draws) for name in names}
    logits = {name: comparison.logits() for name, comparison in comparisons.items()}
    teacher, full = systems[0].name, full_student(systems)

    def row(name: str) -> dict[str, Any]:
        distance, shares = distances[name], adherences[name]
        return {
            "name": name,
            "frechet": distance.interval().as_json(),
            "frechet_plain": distance_of_sets(flat, features[name]),
            "frechet_ratio": distance.over(distances[teacher]).interval().as_json(),
            "adherence": {key: share.interval().as_json() for key, share in shares.items()},
            "adherence_ratio": shares[OVERALL]
            .over(adherences[teacher][OVERALL])
            .interval()
            .as_json(),
        }

    def over_full(system: System) -> dict[str, Any]:
        """Compare a student of other losses with the one of all, draw by draw."""
        if full is None or not (is_ablation(system) or system is full):
            return {}
        share, others = (adherences[name][OVERALL] for name in (system.name, full.name))
        ratio = distances[system.name].over(distances[full.name])
        return {
            "over_full": {
                "frechet": ratio.interval().as_json(),
                "adherence": share.over(others).interval().as_json(),
            }
        }

    return {
        "systems": [
            {
                **row(system.name),
                **over_full(system),
                "num_inference_steps": system.num_inference_steps,
                "guidance_scale": system.guidance_scale,
                "timestep_spacing": system.timestep_spacing,
                "prediction_type": system.prediction_type,
                "unet_calls": system.unet_calls,
                "two_sample": singly(logits[system.name], draws).interval().as_json(),
                "side_by_side": side_by_side(logits[system.name], draws).interval().as_json(),
            }
            for system in systems
        ],
        "controls": [row(name) for name in controls],
    }


def _speed(
    systems: Sequence[System], prompts: tuple[Prompt, ...], rounds: int
) -> list[dict[str, object]]:
    """Time the teachers and students; another grid or loss costs what they do."""
    timed = [s for s in systems if s.timestep_spacing == "trailing" and not is_ablation(s)]
    with Progress() as bar:
        task = bar.add_task("wall time, rounds", total=rounds)
        report: Callable[[int], None] = lambda done: bar.update(task, completed=done)  # noqa: E731
        return [speed.as_json() for speed in measure_speed(timed, prompts, rounds, report)]
