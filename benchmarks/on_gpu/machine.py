"""What it ran on, and how fast that multiplies matrices."""

import gc
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks.on_gpu.timing import DeviceClock

__all__ = ["free_memory", "machine", "matmul_tflops", "memory", "reset_memory"]

PACKAGES = ("torch", "triton", "diffusers", "transformers")
QUERIES = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "power.limit", "temperature.gpu")
MATMUL_RUNS = 20


def machine(device: torch.device) -> dict[str, Any]:
    """Describe the machine, its clocks as they are now."""
    described: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu_cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": " ".join(sys.argv),
        "device": str(device),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        described |= {
            "gpu": properties.name,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "gpu_multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call] # torch's own
            "nvidia_smi": _nvidia_smi(),
        }
    return described


def matmul_tflops(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Return the best rate, in 10^12 FLOP/s, of squaring matrices of `side` in `dtype`."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    clock = DeviceClock(device)
    for _ in range(MATMUL_RUNS):
        with clock.region():
            left @ right
    return float(2 * side**3 / (min(clock.take()) / 1000) / 1e12)


def free_memory(device: torch.device) -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def reset_memory(device: torch.device) -> None:
    """Let the peaks start anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory(device: torch.device) -> dict[str, float] | None:
    """Return the peaks of what torch held, in GiB; None on a CPU.

    `allocated` is what tensors took, `reserved` also what torch kept from the driver: the
    memory of captured graphs is only in that.
    """
    if device.type != "cuda":
        return None
    return {
        "allocated_gib": torch.cuda.max_memory_allocated(device) / 2**30,
        "reserved_gib": torch.cuda.max_memory_reserved(device) / 2**30,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _nvidia_smi() -> dict[str, str] | None:
    if shutil.which("nvidia-smi") is None:
        return None
    found = subprocess.run(
        ["nvidia-smi", f"--query-gpu={','.join(QUERIES)}", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    lines = found.stdout.strip().splitlines()
    if found.returncode != 0 or not lines:
        return None
    return dict(zip(QUERIES, (value.strip() for value in lines[0].split(",")), strict=False))
