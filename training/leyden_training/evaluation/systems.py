"""What is compared: a pipeline folder, a UNet laid over it, and how it is sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from leyden_training.distillation.command import ABLATION_STEPS, FULL
from leyden_training.distillation.stage import usual_stages
from leyden_training.distillation.steps import Prediction
from leyden_training.distillation.training import differ_in_losses_alone
from leyden_training.parts import require_pipeline
from leyden_training.sampling import load_pipeline

__all__ = [
    "GRIDS",
    "STUDENT_STEPS",
    "Grid",
    "System",
    "available",
    "full_student",
    "is_ablation",
    "usual_systems",
]

Grid = Literal["trailing", "leading", "linspace"]

GRIDS: tuple[Grid, ...] = ("trailing", "leading", "linspace")
STUDENT_STEPS = (8, 4, 2, 1)
ABLATION = "ablation: "
GRID_STEPS = 4
"""Steps of the ablation of the sampling grid."""

PREDICTIONS: dict[int, Prediction] = {stage.steps: stage.prediction for stage in usual_stages()}
"""What a student of so many steps predicts."""


@dataclass(frozen=True)
class System:
    """A way to make pictures from prompts."""

    name: str
    pipeline: Path
    """A diffusers SDXL folder."""

    num_inference_steps: int
    unet: Path | None = None
    """A UNet's folder to lay over the pipeline's own."""

    guidance_scale: float = 0.0
    timestep_spacing: Grid = "trailing"
    prediction_type: Prediction = "epsilon"

    @property
    def unet_calls(self) -> int:
        """Rows that the UNet computes for one picture; guidance doubles them."""
        return self.num_inference_steps * (2 if self.guidance_scale > 1 else 1)

    def load(self) -> StableDiffusionXLPipeline:
        """Load the stock pipeline in float32 on the best device there is."""
        pipeline = load_pipeline(self.pipeline)
        if self.unet is not None:
            unet = UNet2DConditionModel.from_pretrained(self.unet, dtype=torch.float32)
            pipeline.unet = unet.to(pipeline.device)
        pipeline.scheduler = EulerDiscreteScheduler.from_config(
            pipeline.scheduler.config,
            timestep_spacing=self.timestep_spacing,
            prediction_type=self.prediction_type,
        )
        return pipeline

    def files(self) -> list[Path]:
        """List the files whose change makes other pictures: weights, configs, vocabularies."""
        parts = ("text_encoder", "text_encoder_2", "vae", "tokenizer", "tokenizer_2", "scheduler")
        folders = [self.pipeline / part for part in parts]
        folders.append(self.unet or self.pipeline / "unet")
        return [self.pipeline / "model_index.json"] + [
            file for folder in folders for file in sorted(folder.iterdir())
        ]


def usual_systems(
    pipeline: Path,
    students: Path,
    *,
    guidance_scale: float,
    ablation: Mapping[str, Path] | None = None,
    ablation_steps: int = ABLATION_STEPS,
) -> tuple[System, ...]:
    """List everything that an evaluation compares, the 50-step teacher first.

    Args:
        pipeline: the teacher's diffusers folder.
        students: folder of the students' run folders, `4step` for that of 4 steps.
        guidance_scale: of the teacher where it is guided.
        ablation: run folders of students trained with other losses, by label.
        ablation_steps: steps of those.

    """
    guided = System("teacher, 50 steps", pipeline, 50, guidance_scale=guidance_scale)
    systems = [
        guided,
        replace(guided, name="teacher, 25 steps", num_inference_steps=25),
        replace(guided, name="teacher, 4 steps", num_inference_steps=4),
        System("teacher, 4 steps, unguided", pipeline, 4),
    ]
    for steps in STUDENT_STEPS:
        unet = students / f"{steps}step" / "unet"
        systems.append(
            System(student_name(steps), pipeline, steps, unet, prediction_type=PREDICTIONS[steps])
        )
    by_name = {system.name: system for system in systems}
    for grid in GRIDS[1:]:
        for who in ("teacher", "student"):
            trailing = by_name[f"{who}, {GRID_STEPS} steps"]
            systems.append(
                replace(trailing, name=f"{trailing.name}, {grid}", timestep_spacing=grid)
            )
    systems += [
        System(
            f"{ABLATION}{label}",
            pipeline,
            ablation_steps,
            folder / "unet",
            prediction_type=PREDICTIONS[ablation_steps],
        )
        for label, folder in (ablation or {}).items()
    ]
    return tuple(systems)


def student_name(steps: int) -> str:
    """Return the name of the usual student of so many steps."""
    return f"student, {steps} step{'s' if steps > 1 else ''}"


def is_ablation(system: System) -> bool:
    """Whether it is a student trained with other losses."""
    return system.name.startswith(ABLATION)


def full_student(systems: Sequence[System]) -> System | None:
    """Find the student that those of other losses are compared with, if both are there.

    It is the one trained beside them, or else the usual one of as many steps if it was trained by
    the same recipe but for the losses.
    """
    by_name = {system.name: system for system in systems}
    ablated = [system for system in systems if is_ablation(system)]
    if not ablated:
        return None
    if beside := by_name.get(f"{ABLATION}{FULL}"):
        return beside
    usual = by_name.get(student_name(ablated[0].num_inference_steps))
    if usual is None or usual.unet is None:
        return None
    runs = [system.unet.parent for system in ablated if system.unet is not None]
    return usual if all(differ_in_losses_alone(usual.unet.parent, run) for run in runs) else None


def available(systems: Sequence[System]) -> tuple[tuple[System, ...], dict[str, str]]:
    """Part the systems whose UNets exist from the others, whose names come with the reason.

    Raises:
        FileNotFoundError: the first system, which all are compared with, is missing.

    """
    require_pipeline(systems[0].pipeline)
    found = tuple(s for s in systems if s.unet is None or (s.unet / "config.json").exists())
    missing = {s.name: f"{s.unet} does not exist" for s in systems if s not in found}
    return found, missing
