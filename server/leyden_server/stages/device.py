"""Where a stage runs, and in which precision."""

import os

import torch

from leyden_server.config import Dtype, StageConfig

__all__ = ["device_and_dtype"]

TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def device_and_dtype(config: StageConfig) -> tuple[torch.device, torch.dtype]:
    """Set torch's threads and return the device that Ray gave and the precision to use."""
    # Ray's workers start with OMP_NUM_THREADS=1 where num_cpus is below 1.
    torch.set_num_threads(config.torch_threads or os.cpu_count() or 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return device, TORCH_DTYPES[_dtype_name(config.dtype, device)]


def _dtype_name(dtype: Dtype, device: torch.device) -> str:
    if dtype != "auto":
        return dtype
    return "float32" if device.type == "cpu" else "bfloat16"
