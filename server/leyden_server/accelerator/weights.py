"""Reads a part's weights, each tensor once, into a module that was built without memory."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import nn

from leyden_server.accelerator.cores import available_cores
from leyden_server.accelerator.tensor_files import (
    DTYPES,
    Buffer,
    Buffers,
    FileDigests,
    Tensors,
    is_finite,
)
from leyden_server.checkpoint.part_plan import PartPlan, Piece
from leyden_server.errors import ModelRepositoryError

__all__ = ["Changes", "fill", "without_memory"]


class Changes(Protocol):
    """What LoRAs make of a part's parameters."""

    @property
    def names(self) -> frozenset[str]:
        """The parameters that change."""

    def change(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return what a parameter becomes of its float32 values."""


def without_memory(build: Callable[[], Any]) -> Any:
    """Build a module on the meta device: its parameters take no memory and no time."""
    with torch.device("meta"):
        return build().eval()


def fill(
    module: nn.Module,
    plan: PartPlan,
    dtype: torch.dtype,
    *,
    adapters: Changes | None = None,
    digests: FileDigests | None = None,
) -> None:
    """Give every parameter of `module` its values, in `dtype`, on the CPU.

    A file's tensors are read once and in order; while one is read, those before it are changed
    and converted by a few threads. What `adapters` change is changed in float32, before it becomes
    `dtype`: a LoRA's share of a weight is often smaller than what bfloat16 can add to it.

    Raises:
        ModelRepositoryError: a tensor is not finite, in its file or in `dtype`, or the file has
            changed since its header was read; file and tensor are named.

    """
    own = dict(_places(module))
    changed = frozenset() if adapters is None else adapters.names

    def finish(
        piece: Piece, tensor: torch.Tensor, target: torch.Tensor | None, lent: Buffer | None
    ) -> None:
        try:
            if adapters is not None and piece.parameter.name in changed:
                tensor = _changed(piece, tensor, lent, adapters)
            else:
                _check(tensor, piece)
            if target is not None:
                target.copy_(tensor.reshape(target.shape))
                _check_range(target, piece)
        finally:
            if lent is not None:
                buffers.put(lent)

    buffers = Buffers(WORKERS + 2)
    with Tensors(buffers, digests) as tensors, _Workers() as workers:
        for piece in plan.pieces:
            name = piece.parameter.name
            place = own.pop(name, None) or own.pop(name.removeprefix("text_model."))
            stays = (
                DTYPES[piece.tensor.dtype] == dtype
                and piece.scale is None
                and name not in changed
                and not (piece.original and piece.parameter.is_rearranged)
            )
            tensor, lent = tensors.read(piece, stays=stays)
            # Here and not in the threads: glibc packs what stays more tightly for this one.
            target = None if stays else torch.empty(piece.parameter.shape, dtype=dtype)
            _put(*place, tensor if target is None else target)
            workers.submit(finish, piece, tensor, target, lent)
    assert not own, f"{plan.part}: {sorted(own)[:3]} are in no file"
    assert not any(buffer.is_meta for buffer in module.buffers()), plan.part


WORKERS = min(4, available_cores())
"""Threads that change and convert; reading is one thread's, and the digest another's."""

Place = tuple[nn.Module, str]
"""A module, and what it calls its parameter."""


def _places(module: nn.Module) -> Iterator[tuple[str, Place]]:
    for prefix, child in module.named_modules():
        for name, parameter in child._parameters.items():
            if parameter is not None:
                yield (f"{prefix}.{name}" if prefix else name), (child, name)


def _put(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    wanted = module._parameters[name]
    assert wanted is not None
    module._parameters[name] = nn.Parameter(tensor.reshape(wanted.shape), requires_grad=False)


def _changed(
    piece: Piece, tensor: torch.Tensor, lent: Buffer | None, adapters: Changes
) -> torch.Tensor:
    wide = Buffer() if lent is None or lent.is_shared else lent
    try:
        return adapters.change(piece.parameter.name, wide.in_float32(tensor))
    except ModelRepositoryError:
        # Where the file itself is damaged, no LoRA is to blame.
        _check(tensor, piece)
        raise


def _check(tensor: torch.Tensor, piece: Piece) -> None:
    # bfloat16 has every number of float8, of which torch takes no least and most.
    if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        tensor = tensor.to(torch.bfloat16)
    if not is_finite(tensor):
        raise ModelRepositoryError(
            f"{piece.file.path}: {piece.tensor.name}: holds NaN or infinity; the file is damaged"
        )


def _check_range(target: torch.Tensor, piece: Piece) -> None:
    if target.dtype == torch.float16 and not is_finite(target):
        raise ModelRepositoryError(
            f"{piece.file.path}: {piece.tensor.name}: has numbers that float16 cannot hold; dtype "
            "bfloat16 or float32 can"
        )


class _Workers:
    """A few threads, which take no more than a tensor each before the caller must wait."""

    def __init__(self) -> None:
        # Each has torch to itself with one core: there are as many threads as cores already.
        self._pool = ThreadPoolExecutor(WORKERS, "load", torch.set_num_threads, (1,))
        self._running: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            while self._running and error is None:
                self._running.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, run: Callable[..., None], *args: object) -> None:
        """Run it, after those before it if need be; raises what one of those has raised."""
        if len(self._running) > WORKERS:
            self._running.popleft().result()
        self._running.append(self._pool.submit(run, *args))
