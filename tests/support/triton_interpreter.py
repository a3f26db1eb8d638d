"""Kernels in Triton on a CPU: run by Triton's interpreter, in a process of their own.

Triton decides as it is imported whether its functions are compiled or interpreted, and whoever
imports torch's compiler has imported it. So the process is a fresh one.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

__all__ = ["Interpreter", "triton_interpreter"]

PATIENCE_S = 300.0

Result = TypeVar("Result")


class Interpreter:
    """Runs functions where every kernel in Triton is interpreted."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def __call__(self, function: Callable[..., Result], *args: Any) -> Result:
        """Run a function of a module's top level there, and return or raise what it does.

        What the server asks `kernels_for` has kernels there, too, for half precision on the CPU.
        """
        return self._pool.submit(function, *args).result(PATIENCE_S)


@contextmanager
def triton_interpreter() -> Iterator[Interpreter]:
    """Start the process, and stop it."""
    pytest.importorskip("triton")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _interpret) as pool:
        yield Interpreter(pool)


def _interpret() -> None:
    # Before the first import of Triton, and of the modules that take `kernels_for` from this one.
    os.environ["TRITON_INTERPRET"] = "1"
    import torch

    from leyden_server.accelerator import triton_kernels

    def kernels_for(x: torch.Tensor, module: str) -> Any | None:
        if x.dtype not in (torch.bfloat16, torch.float16):
            return None
        kernels = triton_kernels.triton_kernels(module, x.device, x.dtype)
        assert kernels is not None, f"{module} does not run in Triton's interpreter"
        return kernels

    triton_kernels.kernels_for = kernels_for
    torch.set_num_threads(1)
