"""The stages of a run, in order, each from the folder that the one before it wrote."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from leyden_training.data.dataset import render_dataset
from leyden_training.data.items import size_buckets
from leyden_training.kept_weights import keep_teacher, kept_state, read_kept
from leyden_training.latents import cache_latents, whitened_vae
from leyden_training.parts import (
    ModelShape,
    embedded_tokenizers,
    require_pipeline,
    save_pipeline,
)
from leyden_training.run_folder import has_reached, read_checkpoint
from leyden_training.teacher import Teacher
from leyden_training.teacher_training import TeacherSettings, load_teacher, train_teacher
from leyden_training.vae_training import VaeSettings, shortened, train_vae
from leyden_training.workers import run_workers

__all__ = [
    "classifier",
    "curves",
    "curves_are_drawn",
    "evaluate",
    "export_teacher",
    "keep",
    "labelled_folder",
    "latents",
    "render",
    "require_matplotlib",
    "sample",
    "teacher",
    "teacher_settings",
    "vae",
]

TEACHER_OPTIONS = (
    "half_iterations",
    "whole_iterations",
    "cooldown",
    "half_batch",
    "whole_batch",
    "learning_rate",
)
"""Settings of the teacher that the command line may change."""


def shape_of(arguments: argparse.Namespace) -> ModelShape:
    """Read the shape that the command line names; the embedded models' by default."""
    return ModelShape() if arguments.shape is None else ModelShape.read(arguments.shape)


def render(arguments: argparse.Namespace) -> None:
    """Render pictures and captions."""
    render_dataset(
        arguments.folder / "data",
        count=arguments.count,
        seed=arguments.seed,
        workers=arguments.workers or len(os.sched_getaffinity(0)),
        size_buckets=size_buckets(shape_of(arguments).native_px),
    )


def vae(arguments: argparse.Namespace) -> None:
    """Train the VAE.

    Raises:
        KeyboardInterrupt: it was stopped.

    """
    settings = shortened(VaeSettings(), arguments.scale)
    run_workers(
        train_vae,
        {
            "data": arguments.folder / "data",
            "run": arguments.folder / "vae",
            "shape": shape_of(arguments),
            "settings": settings,
        },
        arguments.workers,
    )
    if not has_reached(arguments.folder / "vae", settings.iterations):
        raise KeyboardInterrupt


def latents(arguments: argparse.Namespace) -> None:
    """Whiten the VAE and encode the pictures.

    Raises:
        FileNotFoundError: there is no VAE, no data set, or no diffusers folder where one is named.

    """
    folder = arguments.folder
    out, tokenizers = folder / "latents" / "vae", embedded_tokenizers()
    if arguments.of is not None:
        pipeline = require_pipeline(arguments.of)
        AutoencoderKL.from_pretrained(pipeline / "vae").save_pretrained(out)
        tokenizers = (
            CLIPTokenizer.from_pretrained(pipeline / "tokenizer"),
            CLIPTokenizer.from_pretrained(pipeline / "tokenizer_2"),
        )
    elif arguments.vae is not None:
        AutoencoderKL.from_pretrained(arguments.vae).save_pretrained(out)
    elif not out.exists():
        part = out.with_name("vae.part")
        whitened_vae(folder / "vae", folder / "data", shape_of(arguments)).save_pretrained(part)
        part.rename(out)
    cache_latents(
        folder / "data",
        AutoencoderKL.from_pretrained(out),
        folder / "latents",
        tokenizers,
    )


def teacher(arguments: argparse.Namespace) -> None:
    """Train the teacher.

    Raises:
        FileNotFoundError: the kept weights or the VAE are missing.
        KeyboardInterrupt: it was stopped.
        ValueError: the kept weights do not fit.

    """
    folder, run = arguments.folder, arguments.folder / "teacher"
    if arguments.start is not None and read_checkpoint(run) is None:
        # Here a misfit is one line; in a worker it would be a traceback.
        read_kept(arguments.start, shape_of(arguments), folder / "latents" / "vae")
    settings = teacher_settings(arguments)
    run_workers(
        train_teacher,
        {
            "latents": folder / "latents",
            "run": run,
            "shape": shape_of(arguments),
            "tokenizer": embedded_tokenizers()[0],
            "settings": settings,
            "start": arguments.start,
        },
        arguments.workers,
    )
    if not has_reached(run, settings.iterations):
        raise KeyboardInterrupt


def teacher_settings(arguments: argparse.Namespace) -> TeacherSettings:
    """Make a run's settings: those it started with, and over them what the command line says."""
    begun: Mapping[str, Any] | None = None
    if checkpoint := read_checkpoint(arguments.folder / "teacher"):
        begun = checkpoint.get("settings")
    elif arguments.start is not None:
        begun = kept_state(arguments.start)["settings"]
    settings = TeacherSettings(**(begun or {}))
    given = {name: getattr(arguments, name) for name in TEACHER_OPTIONS}
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def keep(arguments: argparse.Namespace) -> None:
    """Keep the teacher's averaged weights, from which alone a run can go on."""
    folder, out = arguments.folder, arguments.out
    trained = Teacher(shape_of(arguments), embedded_tokenizers()[0])
    size = keep_teacher(folder / "teacher", trained, folder / "latents" / "vae", out)
    print(f"{out}: iteration {kept_state(out)['iteration']}, {size / 1e6:.1f} MB")


def export_teacher(arguments: argparse.Namespace) -> None:
    """Write the teacher's averaged weights as a folder that stock diffusers loads."""
    folder, tokenizers = arguments.folder, embedded_tokenizers()
    trained = load_teacher(folder / "teacher", shape_of(arguments), tokenizers[0])
    save_pipeline(
        arguments.out,
        vae=AutoencoderKL.from_pretrained(folder / "latents" / "vae"),
        unet=trained.unet,
        text_encoders=(trained.text_encoder, trained.text_encoder_2),
        tokenizers=tokenizers,
    )


def classifier(arguments: argparse.Namespace) -> None:
    """Train the attribute classifier.

    Raises:
        KeyboardInterrupt: it was stopped.

    """
    from leyden_training.evaluation.classifier_training import (
        ClassifierSettings,
        train_classifier,
    )

    settings, vae_folder = ClassifierSettings(), arguments.folder / "latents" / "vae"
    if arguments.iterations is not None:
        settings = replace(settings, iterations=arguments.iterations)
    run_workers(
        train_classifier,
        {
            "data": arguments.folder / "data",
            "run": arguments.folder / "classifier",
            "settings": settings,
            "vae": vae_folder if vae_folder.exists() else None,
        },
        arguments.workers,
    )
    if not has_reached(arguments.folder / "classifier", settings.iterations):
        raise KeyboardInterrupt


def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate teacher and students, and write the report."""
    require_matplotlib()
    from leyden_training.evaluation import command

    command.run(arguments)


def curves(arguments: argparse.Namespace) -> None:
    """Draw the curve of every run in the folder.

    Raises:
        FileNotFoundError: there is none.

    """
    require_matplotlib()
    from leyden_training.curves import curves_of, draw_curve

    found = curves_of(arguments.folder)
    if not found:
        raise FileNotFoundError(f"{arguments.folder} holds no run's curve.csv")
    for curve in found:
        if picture := draw_curve(curve):
            print(picture)


def curves_are_drawn(arguments: argparse.Namespace) -> bool:
    """Whether every run's picture is there and no older than its curve."""
    from leyden_training.curves import curves_of, is_drawn

    return all(is_drawn(curve) for curve in curves_of(arguments.folder))


def require_matplotlib() -> None:
    """Say how to install it where it is missing.

    Raises:
        SystemExit: it is missing.

    """
    if find_spec("matplotlib") is None:
        raise SystemExit("leyden-train: plots need matplotlib: pip install matplotlib")


def labelled_folder(text: str) -> tuple[str, Path]:
    """Parse NAME=FOLDER.

    Raises:
        argparse.ArgumentTypeError: it is not of that form.

    """
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER")
    return name, Path(folder)


def sample(arguments: argparse.Namespace) -> None:
    """Write a contact sheet.

    Raises:
        FileNotFoundError: there is no diffusers folder.

    """
    from leyden_training.sampling import USUAL_PROMPTS, contact_sheet, load_pipeline

    pipeline = load_pipeline(require_pipeline(arguments.model))
    side = pipeline.default_sample_size * pipeline.vae_scale_factor
    width_px, height_px = arguments.size or (side, side)
    contact_sheet(
        pipeline,
        arguments.prompt or USUAL_PROMPTS,
        steps=arguments.steps,
        guidance_scale=arguments.guidance,
        width_px=width_px,
        height_px=height_px,
        seed=arguments.seed,
    ).save(arguments.out)
