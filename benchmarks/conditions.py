"""Where, when and on what was measured."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from leyden_server.config import ServerConfig

__all__ = ["IDLE_LOAD", "REPOSITORY", "commit", "conditions"]

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "diffusers", "transformers", "ray", "grpcio", "numpy", "pillow")

IDLE_LOAD = 0.5
"""A load average above this means that something else was running."""


def conditions() -> dict[str, Any]:
    """Describe the machine, the versions and the commit, as they are now."""
    config = ServerConfig()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": psutil.virtual_memory().total >> 30,
        "load_average_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "torch_threads": {
            "text_encoder": config.text_encoder.torch_threads,
            "denoiser": config.denoiser.torch_threads,
            "vae": config.vae.torch_threads,
        },
        "dtype": "float32",
        "commit": commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """Return the short hash, with `-dirty` where tracked files differ; empty without git."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip()
