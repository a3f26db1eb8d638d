"""Kernels in Triton, which comes with torch for GPUs on Linux, where they run."""

import importlib
import logging
from functools import cache
from typing import Any

import torch

__all__ = ["kernels_for", "triton_kernels"]

logger = logging.getLogger(__name__)


def kernels_for(x: torch.Tensor, module: str) -> Any | None:
    """Return `module`, whose kernels are for x; None where torch's operators are to be used.

    The kernels are for a GPU in half precision. Compiled code has kernels of its own.
    """
    if (
        not x.is_cuda
        or x.dtype not in (torch.bfloat16, torch.float16)
        or torch.compiler.is_compiling()
    ):
        return None
    return triton_kernels(module, x.device, x.dtype)


@cache
def triton_kernels(module: str, device: torch.device, dtype: torch.dtype) -> Any | None:
    """Return `module`, once its `try_out` has run there; None where it does not run.

    Triton may be missing, or what it builds a kernel's launcher with: a C compiler (gcc, clang
    or CC) and Python's headers. torch's operators then stand in, and the log says so once.

    Raises:
        torch.OutOfMemoryError: the device has no memory left.

    """
    try:
        kernels = importlib.import_module(module)
        kernels.try_out(device, dtype)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - Triton has none of its own for a missing compiler
        logger.warning(
            "%s: torch's operators stand in, slower, for kernels in Triton (which needs a C "
            "compiler such as gcc, and Python's headers): %s: %s",
            module.rpartition(".")[2],
            type(error).__name__,
            str(error).strip().partition("\n")[0] or "no reason given",
        )
        return None
    return kernels
