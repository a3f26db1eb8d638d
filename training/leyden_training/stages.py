"""The stages of a run, in order, each from the folder that the one before it wrote."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL

from leyden_training.data.dataset import render_dataset
from leyden_training.data.items import size_buckets
from leyden_training.distillation.lora import write_lora
from leyden_training.distillation.stage import usual_stages
from leyden_training.distillation.training import distil
from leyden_training.kept_weights import keep_teacher, kept_state, read_kept
from leyden_training.latents import cache_latents, whitened_vae
from leyden_training.parts import ModelShape, embedded_tokenizers, save_pipeline
from leyden_training.run_folder import read_checkpoint
from leyden_training.teacher import Teacher
from leyden_training.teacher_training import TeacherSettings, load_teacher, train_teacher
from leyden_training.vae_training import VaeSettings, shortened, train_vae
from leyden_training.workers import run_workers

__all__ = [
    "classifier",
    "distil_all",
    "evaluate",
    "export_teacher",
    "keep",
    "labelled_folder",
    "latents",
    "render",
    "sample",
    "teacher",
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
    """Train the VAE."""
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


def latents(arguments: argparse.Namespace) -> None:
    """Whiten the VAE and encode the pictures."""
    folder = arguments.folder
    out = folder / "latents" / "vae"
    if arguments.vae is not None:
        AutoencoderKL.from_pretrained(arguments.vae).save_pretrained(out)
    elif not out.exists():
        whitened_vae(folder / "vae", folder / "data", shape_of(arguments)).save_pretrained(out)
    cache_latents(
        folder / "data",
        AutoencoderKL.from_pretrained(out),
        folder / "latents",
        embedded_tokenizers(),
    )


def teacher(arguments: argparse.Namespace) -> None:
    """Train the teacher.

    Raises:
        FileNotFoundError: the kept weights or the VAE are missing.
        ValueError: the kept weights do not fit.

    """
    folder, run = arguments.folder, arguments.folder / "teacher"
    if arguments.start is not None and read_checkpoint(run) is None:
        # Here a misfit is one line; in a worker it would be a traceback.
        read_kept(arguments.start, shape_of(arguments), folder / "latents" / "vae")
    run_workers(
        train_teacher,
        {
            "latents": folder / "latents",
            "run": run,
            "shape": shape_of(arguments),
            "tokenizer": embedded_tokenizers()[0],
            "settings": teacher_settings(arguments),
            "start": arguments.start,
        },
        arguments.workers,
    )


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


def distil_all(arguments: argparse.Namespace) -> None:
    """Distil students of 8, 4, 2 and 1 steps, each taught by the one before it."""
    pipeline: Path = arguments.teacher
    teacher_unet = pipeline / "unet"
    for usual in usual_stages(arguments.teacher_steps, arguments.guidance):
        stage = replace(usual, batch=arguments.batch or usual.batch).scaled(arguments.scale)
        run = arguments.folder / "students" / f"{stage.steps}step"
        if not (run / "unet").exists():
            run_workers(
                distil,
                {
                    "pipeline_folder": pipeline,
                    "teacher_unet": teacher_unet,
                    "latents": arguments.folder / "latents",
                    "run": run,
                    "stage": stage,
                    "seed": arguments.seed,
                },
                arguments.workers,
            )
        if not (run / "unet").exists():
            return  # stopped; its checkpoint waits
        write_lora(pipeline / "unet", run / "unet", run / "lora.safetensors", arguments.rank)
        if stage.steps == arguments.down_to:
            return
        teacher_unet = run / "unet"


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
    """Train the attribute classifier."""
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


def evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate teacher and students, and write the report."""
    try:
        from leyden_training.evaluation import command
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise SystemExit(
            "leyden-train: evaluate needs matplotlib: pip install 'leyden[training]'"
        ) from error
    command.run(arguments)


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
    """Write a contact sheet."""
    from leyden_training.sampling import USUAL_PROMPTS, contact_sheet, load_pipeline

    pipeline = load_pipeline(arguments.model)
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
