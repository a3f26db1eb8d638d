"""On what, with what and when it was measured."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import torch

__all__ = ["conditions", "device_name"]

PACKAGES = ("torch", "diffusers", "transformers", "numpy")


def conditions() -> dict[str, object]:
    """Describe the machine and the versions, as they are now."""
    return {
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": round(os.getloadavg()[0], 2),
        "dtype": "float32",
        "torch_threads": 1,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
    }


def device_name() -> str:
    """Name the GPU, or the CPU's model where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
