"""Where a stage runs, and in which precision."""

import os

import torch

from leyden_server.config import Dtype, StageConfig

__all__ = ["device_and_dtype", "torch_threads"]

TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def device_and_dtype(config: StageConfig) -> tuple[torch.device, torch.dtype]:
    """Return the device that Ray gave and the precision to use."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return device, TORCH_DTYPES[_dtype_name(config.dtype, device)]


def torch_threads(config: StageConfig) -> int:
    """Return how many threads a torch operator of the stage has."""
    return config.torch_threads or os.cpu_count() or 1


def _dtype_name(dtype: Dtype, device: torch.device) -> str:
    if dtype != "auto":
        return dtype
    return "float32" if device.type == "cpu" else "bfloat16"
