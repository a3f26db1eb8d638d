"""Runs the stages and gathers their figures."""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.on_gpu.architecture import SDXL, TINY, Costs
from benchmarks.on_gpu.denoiser_stage import denoiser_rows
from benchmarks.on_gpu.machine import machine, matmul_tflops
from benchmarks.on_gpu.other_stages import (
    encoder_execution,
    text_encoder_rows,
    vae_execution,
    vae_rows,
)
from benchmarks.on_gpu.published import published_dicts
from benchmarks.on_gpu.run import Row, Run
from leyden_server.accelerator import compiler
from leyden_server.accelerator.device import torch_threads
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import DenoiserConfig
from leyden_server.denoiser.float8_products import PRODUCTS, Product, chosen_for

__all__ = ["count", "measure"]

FULL_MATMUL_SIDE, TINY_MATMUL_SIDE = 8192, 256


def count(asked: argparse.Namespace) -> dict[str, Any]:
    """Return parameters and FLOP alone."""
    architecture = TINY if asked.tiny else SDXL
    return {
        "name": architecture.name,
        **Costs.count(architecture, tuple(asked.sizes)).as_dict(),
    }


def measure(asked: argparse.Namespace, said: Console) -> dict[str, Any]:
    """Run every stage that is asked for; return, and write as they come, all figures."""
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    compiler.BACKEND = asked.compile_backend
    # The float32 reference is to be float32: cuDNN would take TF32 for convolutions.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False

    architecture = TINY if asked.tiny else SDXL
    device = torch.device(asked.device, 0) if asked.device == "cuda" else torch.device("cpu")
    dtype = getattr(torch, asked.dtype)
    thread = TorchThread("benchmark", torch_threads(DenoiserConfig()))
    progress = Progress(
        SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), console=said
    )
    with progress, tempfile.TemporaryDirectory(prefix="leyden-gpu-") as folder:
        task = progress.add_task("counting parameters and FLOP", total=None)

        def say(what: str) -> None:
            progress.update(task, description=what)
            if not said.is_terminal:
                said.print(what)

        side = TINY_MATMUL_SIDE if asked.tiny else FULL_MATMUL_SIDE
        run = Run(
            architecture=architecture,
            device=device,
            dtype=dtype,
            sizes_px=tuple(asked.sizes),
            rows=tuple(asked.rows),
            executions=tuple(asked.executions),
            float8=_float8(asked),
            num_inference_steps=asked.steps,
            measured=asked.measured,
            seed=asked.seed,
            costs=Costs.count(architecture, tuple(asked.sizes)),
            matmul_tflops=thread.run(matmul_tflops, device, dtype, side),
            thread=thread,
            folder=Path(folder),
            say=say,
        )
        figures: dict[str, Any] = {
            "machine": machine(device),
            "asked": {key: value for key, value in vars(asked).items() if key != "json"}
            | {"num_inference_steps": asked.steps},
            "architecture": {"name": architecture.name, **run.costs.as_dict()},
            "matmul_tflops": run.matmul_tflops,
            "tolerance": run.tolerance,
            "failures": run.failures,
            "rows": [],
            "whole_images": [],
            "profile": [],
            "published": published_dicts(),
            "complete": False,
        }
        for row in _rows(run, asked, figures["profile"]):
            figures["rows"].append(row)
            figures["whole_images"] = _whole_images(figures["rows"])
            _write(asked.json, figures)
        figures["complete"] = True
        _write(asked.json, figures)
    return figures


def _float8(asked: argparse.Namespace) -> frozenset[Product]:
    if asked.fp8 is None:
        return frozenset()
    return chosen_for(asked.steps) if asked.fp8 == "chosen" else frozenset(PRODUCTS)


def _rows(run: Run, asked: argparse.Namespace, profile: list[dict[str, Any]]) -> Iterator[Row]:
    if "text_encoders" in asked.stages:
        yield from text_encoder_rows(run)
    if "vae" in asked.stages:
        yield from vae_rows(run)
    # Last, since compiling takes longest: whoever runs out of time has the others.
    if "denoiser" in asked.stages:
        yield from denoiser_rows(run, profile=profile if asked.profile else None)


def _whole_images(rows: list[Row]) -> list[Row]:
    """Add up what one image's share of each stage's batch takes; PNG encoding is not in it."""
    measured = [row for row in rows if "not_measured" not in row]
    text = {
        (row["execution"], row["rows"]): row for row in measured if row["stage"] == "text_encoders"
    }
    decode = {
        (row["execution"], row["size_px"], row["rows"]): row
        for row in measured
        if row["stage"] == "vae"
    }
    whole = []
    for row in measured:
        if row["stage"] != "denoiser":
            continue
        number = row["rows"]
        key = (vae_execution(row["execution"]), row["size_px"], number)
        text_key = (encoder_execution(row["execution"]), number)
        if text_key not in text or key not in decode:
            continue
        parts = {
            "text_ms": text[text_key]["wall_ms"]["median"] / number,
            "denoise_ms": 1000 / row["images_per_s"],
            "decode_ms": decode[key]["wall_ms"]["median"] / number,
        }
        image_ms = sum(parts.values())
        whole.append(
            {
                **{name: row[name] for name in ("execution", "size_px", "rows")},
                **parts,
                "image_ms": image_ms,
                "images_per_s": 1000 / image_ms,
            }
        )
    return whole


def _write(file: Path | None, figures: dict[str, Any]) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
