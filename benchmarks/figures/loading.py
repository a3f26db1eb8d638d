"""A full-size all-in-one file and two LoRAs: start to ready by diffusers, memory, bytes read."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import REPOSITORY
from benchmarks.full_size_files import write_base, write_checkpoint, write_lora
from benchmarks.on_gpu.architecture import SDXL, TINY
from benchmarks.paired import in_turns, ratio_of
from benchmarks.section import Figure, Section, Settings, TextTable
from benchmarks.server_process import ServerProcess

__all__ = ["measure"]

ROUNDS = 3
"""At most: a round takes a minute."""
STAGES = ("text_encoder", "denoiser", "vae")
MODEL = "whole"
MODEL_YAML = """base: ../base
single_file: ../whole.safetensors
lora:
  - {path: ../lora1.safetensors, scale: 0.7}
  - {path: ../lora2.safetensors, scale: 0.7}
size: {default_width_px: 256, default_height_px: 256, min_px: 64}
"""
CONFIG = {
    "text_encoder": {"dtype": "bfloat16"},
    "denoiser": {"dtype": "bfloat16", "measure_batch_rows": False},
    "vae": {"dtype": "bfloat16", "max_batch_images": 1},
}
MB = 1e6


def measure(settings: Settings) -> Section:
    """Write the files, and load them by each in turns."""
    with tempfile.TemporaryDirectory(prefix="leyden-loading-") as name:
        return _measure(settings, Path(name))


def _measure(settings: Settings, folder: Path) -> Section:
    architecture = TINY if settings.quick else SDXL
    settings.say(f"loading: writing a {architecture.name} checkpoint and two LoRAs")
    base = write_base(folder / "base", architecture)
    whole = write_checkpoint(folder / "whole.safetensors", architecture)
    loras = [
        write_lora(folder / f"lora{number}.safetensors", architecture, seed=number)
        for number in (1, 2)
    ]
    model = folder / MODEL
    model.mkdir()
    (model / "model.yaml").write_text(MODEL_YAML, encoding="utf-8")
    files = (whole, *loras)
    contestants = {
        "leyden": lambda: _serve_s(folder),
        "diffusers": lambda: _run("diffusers", base, *files)["wall_s"],
    }
    settings.say("loading: once each, so that the files are in the disk cache")
    in_turns(contestants, 1)
    rounds = min(settings.pairs, ROUNDS)
    settings.say(f"loading: {rounds} rounds")
    seconds = in_turns(contestants, rounds)
    settings.say("loading: memory and bytes of each stage")
    stages = {stage: _run(stage, model) for stage in STAGES}
    whole_run = _run("diffusers", base, *files)
    start = ratio_of(seconds["leyden"], seconds["diffusers"])
    size = sum(file.stat().st_size for file in files)
    read = sum(stage["bytes_read"] for stage in stages.values()) / size
    peaks = {
        name: stage["loaded_peak_bytes"] / stage["weights_bytes"] for name, stage in stages.items()
    }
    return Section(
        conditions={
            "files": f"one all-in-one file of {architecture.name}, random float16, and two LoRAs "
            f"of rank 16 for every linear layer of the UNet: {size / MB:.0f} MB, in the disk cache",
            "leyden": "leyden serve --in-process, bfloat16, no row counts measured, warm-up at "
            "256 x 256, from command to ready line",
            "diffusers": "from_single_file, load_lora_weights, fuse_lora, one UNet run at "
            "256 x 256, bfloat16, from command to the end of the run",
            "memory": "resident peak over what is resident before loading, by the weights that "
            "stay; the warm-up's activations left out",
        },
        figures=[
            Figure(
                name="Start to ready, full size with two LoRAs, by diffusers",
                asked="<= 1.00 x, goal 0.67 x",
                measured=start.shown(),
                met=start.median <= 1,
            ),
            Figure(
                name="Bytes read by all stages, by the files' size",
                asked="<= 1.10 x",
                measured=f"{read:.3f} x",
                met=read <= 1.1,
            ),
            Figure(
                name="Peak memory of a stage while it loads, by its weights",
                asked="<= 1.15 x",
                measured=", ".join(f"{name} {peak:.3f} x" for name, peak in peaks.items()),
                met=max(peaks.values()) <= 1.15,
            ),
        ],
        tables=[
            TextTable(
                title="Each process",
                columns=("process", "weights MB", "peak MB", "load s", "read MB"),
                rows=tuple(
                    (
                        name,
                        f"{run['weights_bytes'] / MB:.0f}",
                        f"{run['loaded_peak_bytes'] / MB:.0f}",
                        f"{run['load_s']:.1f}",
                        f"{run['bytes_read'] / MB:.0f}" if name != "diffusers" else "mapped",
                    )
                    for name, run in {**stages, "diffusers": whole_run}.items()
                ),
            )
        ],
        data={"start_s": seconds, "processes": {**stages, "diffusers": whole_run}},
    )


def _serve_s(folder: Path) -> float:
    server = ServerProcess.leyden(MODEL, repository=folder, config=CONFIG, in_process=True)
    with server:
        return server.start_to_ready_s


def _run(what: str, *paths: Path) -> dict[str, Any]:
    started_s = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.loading_run", what, *map(str, paths)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"{what}: {run.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return {**told, "wall_s": time.perf_counter() - started_s}
