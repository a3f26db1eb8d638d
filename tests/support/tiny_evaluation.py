"""A data set, a briefly trained classifier, a teacher and one student, for tests of evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from support import tiny_training
from support.tiny_training import ALONE, SIDE, write_pipeline

from leyden_training.data.dataset import render_dataset
from leyden_training.evaluation.classifier_training import ClassifierSettings, train_classifier
from leyden_training.evaluation.pictures import Pixels, Rendering
from leyden_training.evaluation.prompts import Prompt
from leyden_training.parts import build_vae

SHAPE = replace(tiny_training.SHAPE, unet_channels=(8, 8, 8), text_widths=(8, 8), text_layers=1)


def random_unet(seed: int) -> UNet2DConditionModel:
    """Returns a UNet that says something else at every timestep and prompt."""
    return tiny_training.random_unet(SHAPE, seed)


def rendered(prompts: Sequence[Prompt], number: int) -> Pixels:
    """Returns what the renderer draws for the prompts."""
    return Rendering(number).open(torch.device("cpu"))(0, prompts)


def write_run(folder: Path) -> Path:
    """Writes `data`, `pipeline`, `students/4step` and `classifier`; returns the folder."""
    render_dataset(folder / "data", count=400, seed=0, workers=2, size_buckets={(SIDE, SIDE): 1.0})
    torch.manual_seed(0)
    build_vae(SHAPE).save_pretrained(folder / "vae")
    pipeline = write_pipeline(folder / "pipeline", folder / "vae", shape=SHAPE)
    random_unet(1).half().save_pretrained(folder / "students" / "4step" / "unet")
    (folder / "students" / "4step" / "curve.csv").write_text(
        "iteration,distillation,accuracy,features\n10,0.5,nan,nan\n20,0.25,0.6,0.1\n"
    )
    settings = ClassifierSettings(iterations=50, batch=32, reconstructed=2)
    data, out = folder / "data", folder / "classifier"
    train_classifier(ALONE, data, out, settings, pipeline / "vae")
    return folder
