"""Counts the operations and bytes of all that runs within a block, on tensors without memory.

`FakeTensorMode` gives tensors that say they are on a GPU and hold nothing, so code takes the ways
that it takes there, and a model of any size runs in seconds. `operator_counts` notes what ATen's
operators do. A Triton kernel is not run: the tensors that its source loads and stores are counted,
and attention is one kernel. Where the server has two ways and times both on the card, the usual
one counts.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import sdpa_flop_count

from benchmarks.on_gpu.operator_counts import Card, Counts, tensors_of
from benchmarks.on_gpu.triton_passes import passes_of
from leyden_server.accelerator import triton_kernels

__all__ = ["counting"]


@contextmanager
def counting(card: Card) -> Iterator[Counts]:
    """Count in this thread what runs on a GPU that is not there, until the block ends."""
    counts = Counts(card)
    jit = import_module("triton.runtime.jit")
    with ExitStack() as stack:
        # Where nothing is trained, operators come here as they were called.
        stack.enter_context(torch.inference_mode())
        stack.enter_context(_fake_tensors())
        stack.enter_context(_FusedAttention(counts))
        stack.enter_context(counts)
        # Kernels are taken as they are: nothing compiles here.
        stack.enter_context(
            mock.patch.object(
                triton_kernels, "triton_kernels", lambda name, *_: import_module(name)
            )
        )
        stack.enter_context(mock.patch.object(jit.JITFunction, "run", _launch_into(counts)))
        yield counts


def _kernels_untried(module: str, *_: Any) -> Any:
    return import_module(module)


def _fake_tensors() -> FakeTensorMode:
    mode = FakeTensorMode()
    # Its memory of tensors by weak references keeps `Module.to` from exchanging them.
    mode.fake_tensor_converter.meta_converter.tensor_memo = {}  # type: ignore[assignment]
    return mode


class _FusedAttention(TorchFunctionMode):
    """Notes attention as one kernel that keeps its scores to itself, as a GPU has them."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Take the place of `scaled_dot_product_attention` alone."""
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = tensors_of((args, kwargs))[:3]
        rows, heads, tokens, _ = query.shape
        flop = sdpa_flop_count(query.shape, key.shape, value.shape)  # type: ignore[no-untyped-call]
        # Kernels write (B, tokens, heads, D), which the next product reads without a copy.
        result = query.new_empty(rows, tokens, heads, value.shape[-1]).transpose(1, 2)
        self._counts.add(
            "attention",
            "scaled_dot_product_attention",
            read=[query, key, value],
            written=[result],
            flop=int(flop),
        )
        return result


def _launch_into(counts: Counts) -> Callable[..., None]:
    def launch(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        known = inspect.signature(kernel.fn).parameters
        own = {name: value for name, value in kwargs.items() if name in known}
        arguments = inspect.signature(kernel.fn).bind(*args, **own).arguments
        passes = passes_of(kernel, arguments)
        module = kernel.fn.__module__.rpartition(".")[2]
        name = f"{module}.{kernel.fn.__name__.strip('_')}"
        tensors = {key: one for key, one in arguments.items() if isinstance(one, torch.Tensor)}
        counts.add(
            _kind_of_kernel(name),
            name,
            read=[one for key, one in tensors.items() if key in passes.loaded],
            written=[one for key, one in tensors.items() if key in passes.stored],
        )

    return launch


def _kind_of_kernel(name: str) -> str:
    return "norms" if "norm" in name else "pointwise"
