"""The core's figures: start to ready, memory, first event, latency against diffusers.

    .venv/bin/python benchmarks/core.py [--json FILE]

Run it on an idle machine. The server and the in-process pipeline take turns in one run, on
the same weights, with the same torch threads; only their ratio means anything elsewhere.
"""

import argparse
import io
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import StableDiffusionXLPipeline

from leyden_client import Client
from leyden_server.config import ServerConfig
from leyden_server.model_repository.repository import SHIPPED_MODELS

MODEL = "leyden-tiny-lightning-4step"
PROMPT = "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere"
ROUNDS = 10
REQUESTS_A_ROUND = 10
MARK = "LEYDEN_BENCHMARK_MARK"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    threads = ServerConfig().denoiser.torch_threads
    figures: dict[str, Any] = {"conditions": _conditions(threads)}

    mark = str(uuid.uuid4())
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "leyden_client", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, MARK: mark},
        start_new_session=True,
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            figures["start_to_ready_s"] = time.perf_counter() - started
            figures["pss_gb"] = _pss_bytes(mark) / 1e9
            with Client(address) as client:
                figures |= _latencies(client, threads)
            figures["pss_after_gb"] = _pss_bytes(mark) / 1e9
        finally:
            server.send_signal(signal.SIGINT)
    for name, value in figures.items():
        print(f"{name}: {value if isinstance(value, dict) else round(value, 4)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _latencies(client: Client, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        SHIPPED_MODELS / MODEL, dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    first_events: list[float] = []
    first_progress: list[float] = []

    def served(seed: int) -> None:
        start = time.perf_counter()
        seen: set[str] = set()
        for event in client.stream_image(f"{PROMPT}, {seed}", seed=seed):
            kind = type(event).__name__
            if not seen:
                first_events.append(time.perf_counter() - start)
            if kind == "DenoiseProgress" and kind not in seen:
                first_progress.append(time.perf_counter() - start)
            seen.add(kind)

    def in_process_all_cores(seed: int) -> None:
        torch.set_num_threads(os.cpu_count() or 1)
        in_process(seed)
        torch.set_num_threads(threads)

    def in_process(seed: int) -> None:
        image = pipeline(
            f"{PROMPT}, {seed}",
            num_inference_steps=4,
            guidance_scale=0.0,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        image.save(io.BytesIO(), "PNG", compress_level=1)

    for seed in range(5):
        served(seed)
        in_process(seed)
    first_events.clear()
    first_progress.clear()
    contestants = {
        "served": served,
        "in_process": in_process,
        "in_process_all_cores": in_process_all_cores,
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(ROUNDS):
        for name, run in contestants.items():
            first = 100 + round_number * REQUESTS_A_ROUND
            times[name] += [_timed(run, seed) for seed in range(first, first + REQUESTS_A_ROUND)]
        print(f"\rround {round_number + 1} of {ROUNDS}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    p50 = {name: statistics.median(values) for name, values in times.items()}
    return {
        "first_event_p50_ms": 1000 * statistics.median(first_events),
        "first_progress_p50_ms": 1000 * statistics.median(first_progress),
        "served_p50_ms": 1000 * p50["served"],
        "in_process_p50_ms": 1000 * p50["in_process"],
        "in_process_all_cores_p50_ms": 1000 * p50["in_process_all_cores"],
        "served_over_in_process": p50["served"] / p50["in_process"],
    }


def _timed(run: Callable[[int], None], seed: int) -> float:
    start = time.perf_counter()
    run(seed)
    return time.perf_counter() - start


def _pss_bytes(mark: str) -> int:
    total = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                total += process.memory_full_info().pss
        except psutil.Error:
            continue  # not ours to read, or gone
    return total


def _conditions(threads: int) -> dict[str, object]:
    memory_gib = psutil.virtual_memory().total >> 30
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {memory_gib} GiB",
        "model": f"{MODEL}, 128 x 128, 4 steps, guidance 0, float32, {threads} torch threads",
        "requests": f"{ROUNDS} rounds of {REQUESTS_A_ROUND} in turns, a new prompt each",
        "versions": {name: version(name) for name in ("torch", "diffusers", "ray", "grpcio")},
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
