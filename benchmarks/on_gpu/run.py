"""What is asked of one run of the benchmark, and what its stages share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_gpu.architecture import Architecture, Costs
from benchmarks.on_gpu.comparison import TOLERANCES, Comparison
from benchmarks.on_gpu.machine import memory
from benchmarks.on_gpu.timing import spread
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import UNetExecution
from leyden_server.denoiser.float8_products import Product

__all__ = ["Row", "Run", "gave_up"]

Row = dict[str, Any]
"""One measurement, as it stands in the JSON."""


@dataclass(frozen=True)
class Run:
    """Read by all stages; only `failures` is written."""

    architecture: Architecture
    device: torch.device
    dtype: torch.dtype
    sizes_px: tuple[int, ...]
    rows: tuple[int, ...]
    """Rows, prompts or images in a batch."""
    executions: tuple[UNetExecution, ...]
    float8: frozenset[Product]
    """Products of the UNet in 8-bit floats."""
    num_inference_steps: int
    measured: int
    """Denoise steps, or calls of a stage, that each figure rests on."""
    seed: int
    costs: Costs
    matmul_tflops: float
    thread: TorchThread
    """All models are loaded and run in it, as in a stage of the server."""
    folder: Path
    """For the weights of the stages that load theirs from files."""
    say: Callable[[str], None]
    failures: list[str] = field(default_factory=list)
    """What did not agree with its reference, or did not run for another reason than memory."""

    @property
    def tolerance(self) -> float:
        """Largest accepted relative error."""
        return TOLERANCES[self.dtype]

    def row(
        self,
        what: dict[str, Any],
        comparison: Comparison,
        *,
        device_ms: list[float],
        wall_ms: list[float],
        flop: int,
    ) -> Row:
        """Return a row of the JSON, and note where it does not agree.

        `device_ms` and `wall_ms` are of the runs of one batch, which needs `flop`.
        """
        tflops = flop / (spread(device_ms)["median"] / 1000) / 1e12
        if not comparison.agrees:
            named = ", ".join(f"{name} {value}" for name, value in what.items())
            self.failures.append(
                f"{named}: relative error {comparison.relative:.4f} is over {comparison.tolerance}"
            )
        return {
            **what,
            "device_ms": spread(device_ms),
            "wall_ms": spread(wall_ms),
            "tflops": tflops,
            "share_of_matmul_peak": tflops / self.matmul_tflops,
            "peak_memory": memory(self.device),
            "error": comparison.as_dict(),
        }


def gave_up(what: dict[str, Any], error: BaseException) -> Row:
    """Return the row of what needs more memory than there is."""
    return {**what, "not_measured": f"out of memory: {str(error).splitlines()[0]}"}
