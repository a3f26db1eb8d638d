"""Times all of Leyden, Ray and gRPC included, with the full-size SDXL architecture on a GPU.

First the same random weights in stock diffusers in this process, alone and in batches; then
`leyden serve` on the same card, loaded by closed loops of clients over gRPC. Both give PNGs of
4 steps without guidance. It needs all three distributions (`make install`) and downloads nothing.

    python benchmarks/gpu_server.py --json benchmarks/results/gpu-server-NAME-DATE.json
    python benchmarks/gpu_server.py --tiny            the same on a CPU, in a minute
"""

import argparse
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
import torch
from rich.console import Console

from benchmarks.load import Loader, steady_images_per_s
from benchmarks.on_gpu.architecture import SDXL, TINY
from benchmarks.on_gpu.leyden_peer import served_picture
from benchmarks.on_gpu.loops import parts, pixel_difference
from benchmarks.on_gpu.machine import free_memory, machine
from benchmarks.on_gpu.sdxl_folder import MODEL, PROMPT, STEPS, write_model
from benchmarks.on_gpu.stock_pipeline import load_pipeline, run_pipeline
from benchmarks.server_process import ServerProcess
from leyden_client.bench import Sample, Workload
from leyden_server.vae.image_file import encode_image

WARM_CALLS = 2


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
            figures["same_image"] = pixel_difference(served_picture(server.address), pixels)
            for clients in asked.clients:
                said.print(f"leyden serve: {clients} clients")
                requests = max(asked.requests, 6 * clients)
                figures["leyden"].append(load_server(server.address, clients, requests))
                write(asked.json, figures)
    figures["complete"] = True
    write(asked.json, figures)
    print(json.dumps({key: figures[key] for key in figures if key != "machine"}, indent=1))
    return 0


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
        "of_which_s": parts(samples),
    }


def _first_progress_s(sample: Sample) -> float:
    assert sample.first_progress_s is not None
    return sample.first_progress_s - sample.planned_s


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
