"""Times all of Leyden, Ray and gRPC included, with the full-size SDXL architecture on a GPU.

First the same random weights in stock diffusers in this process, alone and in batches; then
`leyden serve` on the same card, loaded by closed loops of clients over gRPC. Both give PNGs of
4 steps without guidance. It needs all three distributions (`make install`) and downloads nothing.

    python benchmarks/gpu_server.py --json benchmarks/results/gpu-server-NAME-DATE.json
    python benchmarks/gpu_server.py --tiny            the same on a CPU, in a minute
"""

import argparse
import io
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

if not __package__:  # run by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import diffusers
import numpy as np
import PIL.Image
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from rich.console import Console
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from benchmarks.load import Loader, steady_images_per_s
from benchmarks.on_gpu.architecture import SDXL, TINY, Architecture
from benchmarks.on_gpu.machine import free_memory, machine
from benchmarks.on_gpu.random_weights import (
    random_unet,
    resolved,
    write_text_encoders,
    write_vae,
)
from benchmarks.server_process import ServerProcess
from leyden_client import Client
from leyden_client.bench import Sample, Workload
from leyden_server.vae.image_file import encode_image

MODEL = "random-sdxl"
PROMPT = "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere"
STEPS = 4
WARM_CALLS = 2

MODEL_YAML = """\
description: Random weights of SDXL's shape.
license: Apache-2.0
noise_schedule: {solvers: [euler], timestep_spacing: trailing, prediction_type: epsilon}
num_inference_steps: {default: 4, min: 1, max: 50}
guidance_scale: {default: 0, min: 0, max: 20}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    asked = _parse(arguments)
    said = Console(stderr=True)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    diffusers.utils.logging.disable_progress_bar()
    device = torch.device("cpu" if asked.tiny else "cuda:0")
    dtype = torch.float32 if asked.tiny else torch.bfloat16
    architecture = TINY if asked.tiny else SDXL
    figures: dict[str, Any] = {
        "what": f"{architecture.name} architecture, random weights, {STEPS} steps without "
        "guidance, native size, PNG",
        "machine": machine(device),
        "dtype": str(dtype),
        "diffusers": [],
        "leyden": [],
        "complete": False,
    }
    with tempfile.TemporaryDirectory(prefix="leyden-gpu-server-") as folder:
        said.print("writing random weights")
        model = write_model(Path(folder) / MODEL, architecture, device, dtype)
        pipeline = load_pipeline(model, device, dtype)
        for images in asked.batches:
            said.print(f"diffusers: {images} at once")
            figures["diffusers"].append(time_pipeline(pipeline, images, asked.requests))
            write(asked.json, figures)
        pixels = run_pipeline(pipeline, [PROMPT], [0])[0]
        del pipeline
        free_memory(device)
        said.print("leyden serve: starting")
        with ServerProcess.leyden(MODEL, repository=model, config=asked.config) as server:
            figures["start_to_ready_s"] = server.start_to_ready_s
            figures["same_image"] = compare_image(server.address, pixels)
            for clients in asked.clients:
                said.print(f"leyden serve: {clients} clients")
                requests = max(asked.requests, 6 * clients)
                figures["leyden"].append(load_server(server.address, clients, requests))
                write(asked.json, figures)
    figures["complete"] = True
    write(asked.json, figures)
    print(json.dumps({key: figures[key] for key in figures if key != "machine"}, indent=1))
    return 0


def write_model(
    folder: Path, architecture: Architecture, device: torch.device, dtype: torch.dtype
) -> Path:
    """Write a diffusers folder with its `model.yaml`; return the folder."""
    folder.mkdir()
    write_text_encoders(folder, architecture, dtype=dtype, device=device, seed=0)
    write_vae(folder, architecture, dtype=dtype, device=device, seed=0)
    unet = random_unet(architecture, rounded_to=dtype, device=device, seed=0).to(dtype)
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    EulerDiscreteScheduler.from_config(resolved().scheduler_config).save_pretrained(
        folder / "scheduler"
    )
    classes = {
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", CLIPTextModel.__name__],
        "text_encoder_2": ["transformers", CLIPTextModelWithProjection.__name__],
        "tokenizer": ["transformers", CLIPTokenizer.__name__],
        "tokenizer_2": ["transformers", CLIPTokenizer.__name__],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": diffusers.__version__,
        "force_zeros_for_empty_prompt": True,
        **classes,
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.yaml").write_text(MODEL_YAML, encoding="utf-8")
    return folder


def load_pipeline(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the folder as diffusers' documentation has it, channels last beside."""
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, add_watermarker=False
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    for module in (pipeline.unet, pipeline.vae):
        module.to(memory_format=torch.channels_last)
    return pipeline


def run_pipeline(pipeline: Any, prompts: list[str], seeds: Sequence[int]) -> Any:
    """Return pixels (B, H, W, 3) uint8, from the noise that the server draws for the seeds."""
    config = pipeline.unet.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    # In float32: in bfloat16 torch draws other numbers from the same seed.
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    images = pipeline(
        prompts,
        num_inference_steps=STEPS,
        guidance_scale=0.0,
        latents=torch.stack(noise).to(pipeline.unet.dtype),
    ).images
    return np.stack([np.asarray(image) for image in images])


def time_pipeline(pipeline: Any, images: int, calls: int) -> dict[str, Any]:
    """Time batches of `images` to PNGs, with prompts that no two have alike."""
    seconds = []
    for call in range(WARM_CALLS + max(3, calls // images)):
        prompts = [f"{PROMPT}, {call}, {row}" for row in range(images)]
        started_s = time.perf_counter()
        for pixels in run_pipeline(pipeline, prompts, range(images)):
            encode_image(pixels, "PNG", 100, {})
        seconds.append(time.perf_counter() - started_s)
    median_s = statistics.median(seconds[WARM_CALLS:])
    return {
        "images_at_once": images,
        "calls": len(seconds) - WARM_CALLS,
        "call_s": median_s,
        "images_per_s": images / median_s,
    }


def load_server(address: str, clients: int, requests: int) -> dict[str, Any]:
    """Load the server with so many clients that each wait for their image."""
    with Loader(address, Workload(), connections=clients) as loader:
        loader.closed(clients, 2 * clients)
        samples = loader.closed(clients, requests)
    latencies = sorted(sample.latency_s for sample in samples)
    return {
        "clients": clients,
        "requests": requests,
        "images_per_s": steady_images_per_s(samples, clients),
        "latency_s": {
            "median": statistics.median(latencies),
            "p95": latencies[int(0.95 * (len(latencies) - 1))],
        },
        "first_progress_s": statistics.median(_first_progress_s(sample) for sample in samples),
        "of_which_s": _parts(samples),
    }


def _parts(samples: list[Sample]) -> dict[str, float]:
    """Return the median seconds of each part that the server's summaries name."""
    bills = [sample.bill for sample in samples if sample.bill is not None]
    parts = {
        "queue": [bill.queue_s for bill in bills],
        "text_encode": [bill.text_encode_s for bill in bills],
        "steps": [sum(step.duration_s for step in bill.images[0].steps) for bill in bills],
        "vae_decode": [bill.images[0].vae_decode_s for bill in bills],
        "image_encode": [bill.images[0].image_encode_s for bill in bills],
        "total": [bill.total_s for bill in bills],
    }
    return {name: statistics.median(seconds) for name, seconds in parts.items()}


def _first_progress_s(sample: Sample) -> float:
    assert sample.first_progress_s is not None
    return sample.first_progress_s - sample.planned_s


def compare_image(address: str, expected: Any) -> dict[str, float]:
    """Compare one served image with what diffusers made of the same noise, in steps of 255."""
    with Client(address) as client:
        (image,) = client.generate_image(PROMPT, seed=0).images
    with PIL.Image.open(io.BytesIO(image.data)) as opened:
        pixels = np.asarray(opened, dtype=np.int16)
    difference = np.abs(pixels - expected)
    return {
        "mean_difference": float(difference.mean()),
        "mean_difference_upside_down": float(np.abs(pixels[::-1] - expected).mean()),
    }


def write(file: Path | None, figures: dict[str, Any]) -> None:
    """Write what there is so far."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu_server.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny architecture, on a CPU")
    parser.add_argument("--json", type=Path, help="write all figures to this file, as they come")
    parser.add_argument(
        "--clients",
        nargs="+",
        type=_positive,
        default=[1, 4, 8, 16],
        help="closed loops (1 4 8 16)",
    )
    parser.add_argument(
        "--batches", nargs="+", type=_positive, default=[1, 8], help="diffusers' batches (1 8)"
    )
    parser.add_argument(
        "--requests", type=_positive, default=24, help="requests of a loop at the least (24)"
    )
    parser.add_argument(
        "--config", type=_settings, help="settings of the server, as JSON (its defaults)"
    )
    asked = parser.parse_args(arguments)
    if not asked.tiny and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; --tiny runs on a CPU")
    return asked


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def _settings(text: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise argparse.ArgumentTypeError('must be an object, as {"gateway": {"replicas": 2}}')
    return settings


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # the server has stopped, and the temporary folder is gone
        sys.exit(130)
