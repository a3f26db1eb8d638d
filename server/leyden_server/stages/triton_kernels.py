"""Kernels in Triton, which comes with torch for GPUs on Linux, where they run."""

import importlib
import logging
from functools import cache
from typing import Any

import torch

__all__ = ["triton_kernels"]

logger = logging.getLogger(__name__)


@cache
def triton_kernels(module: str, device: torch.device) -> Any | None:
    """Return `module`, whose `try_out(device)` has run its kernels; None where they do not run.

    Triton may be missing, or the C compiler that it builds a kernel's launcher with. torch's
    operators then stand in for the kernels, and the log says so once.
    """
    try:
        kernels = importlib.import_module(module)
        kernels.try_out(device)
    except Exception as error:  # noqa: BLE001 - Triton has none of its own for a missing compiler
        logger.warning(
            "%s: torch's operators stand in, slower, for kernels in Triton, which failed: %s: %s",
            module.rpartition(".")[2],
            type(error).__name__,
            str(error).strip().partition("\n")[0] or "no reason given",
        )
        return None
    return kernels
