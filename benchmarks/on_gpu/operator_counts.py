"""The operations and bytes of ATen's operators, noted as they run (torch's dispatch mode).

Of each operator that moves data it is noted what it computes (torch.utils.flop_counter) and the
bytes that it reads and writes: each tensor once, in the dtype that it has. Views cost nothing.
Where one goes over a tensor more than once on a GPU, or copies it first, that counts too:
`_group_norm` and `_copied_before` say where.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["KINDS", "Card", "Cost", "Counts", "tensors_of"]

KINDS = ("products", "convolutions", "attention", "norms", "pointwise", "copies")

_KIND_OF = {
    "mm": "products",
    "addmm": "products",
    "bmm": "products",
    "baddbmm": "products",
    "_scaled_mm": "products",
    "convolution": "convolutions",
    "_softmax": "attention",
    "native_layer_norm": "norms",
    "native_batch_norm": "norms",
    "_native_batch_norm_legit_no_training": "norms",
    "linalg_vector_norm": "norms",
    "clone": "copies",
    "copy_": "copies",
    "_to_copy": "copies",
    "cat": "copies",
    "stack": "copies",
    "constant_pad_nd": "copies",
    "upsample_nearest2d": "copies",
    "index_select": "copies",
    "zeros": "copies",
    "fill_": "copies",
    "arange": "copies",
}
"""Of ATen's operators; all others that move data are pointwise."""

_NO_KERNEL = {"empty", "empty_like", "new_empty", "empty_strided", "detach", "_unsafe_view", "set_"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operator or many."""

    calls: int = 0
    flop: int = 0
    """Of matrix products, attention and convolutions; a multiplication and an addition are two."""
    read_bytes: int = 0
    written_bytes: int = 0
    bound_s: float = 0.0
    """The longer of arithmetic and memory, of each operator, added up."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.calls + other.calls,
            self.flop + other.flop,
            self.read_bytes + other.read_bytes,
            self.written_bytes + other.written_bytes,
            self.bound_s + other.bound_s,
        )


@dataclass(frozen=True, slots=True)
class Card:
    """What a card does at most."""

    bytes_per_s: float
    flop_per_s: dict[torch.dtype, float]


class Counts(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Costs by kind and operator, of what runs while `running` is true."""

    def __init__(self, card: Card) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.running = False
        self.by_operator: defaultdict[tuple[str, str], Cost] = defaultdict(Cost)
        self._card = card

    def of_kind(self, kind: str) -> Cost:
        """Return the sum over a kind's operators."""
        costs = (cost for (one, _), cost in self.by_operator.items() if one == kind)
        return sum(costs, Cost())

    @property
    def total(self) -> Cost:
        """The sum of all."""
        return sum(self.by_operator.values(), Cost())

    @contextmanager
    def around(self, module: torch.nn.Module) -> Iterator[None]:
        """Count what `module` runs, and nothing beside it."""
        before = module.register_forward_pre_hook(lambda *_: self._run(True))
        after = module.register_forward_hook(lambda *_: self._run(False))
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _run(self, running: bool) -> None:
        self.running = running

    def add(
        self,
        kind: str,
        name: str,
        *,
        read: list[torch.Tensor],
        written: list[torch.Tensor],
        flop: int = 0,
    ) -> None:
        """Note one operator."""
        if not self.running:
            return
        read_bytes, written_bytes = sum(map(_bytes, read)), sum(map(_bytes, written))
        arithmetic_s = 0.0
        if flop:
            arithmetic_s = flop / self._card.flop_per_s[read[0].dtype]
        memory_s = (read_bytes + written_bytes) / self._card.bytes_per_s
        self.by_operator[kind, name] += Cost(
            1, flop, read_bytes, written_bytes, max(arithmetic_s, memory_s)
        )

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator and note it; one that is made of others is taken apart."""
        kwargs = kwargs or {}
        if not self.running or func.namespace != "aten":
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name == "dropout":  # as ATen has it on a GPU: nothing, where nothing is trained
            return args[0]
        if name == "group_norm":
            return self._group_norm(*args, **kwargs)
        if func.overloadpacket not in flop_registry and name not in _KIND_OF:
            with self:
                taken_apart = func.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        result = func(*args, **kwargs)
        if name == "convolution" and _lies_channels_last(args[1]):
            result = result.contiguous(memory_format=torch.channels_last)
        if name not in _NO_KERNEL and not func.is_view:
            self._note(func, name, args, kwargs, result)
        return result

    def _group_norm(self, x: torch.Tensor, _groups: int, *affine: Any) -> torch.Tensor:
        """Note what ATen makes of it on a GPU (native/group_norm.cpp, `group_norm`).

        It lays x out in lines of pixels first, and so the result lies; one kernel sums up, and
        another reads x again.
        """
        if not x.is_contiguous():
            self.add("copies", "group_norm's input", read=[x], written=[x])
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        self.add("norms", "group_norm", read=[x, x, *tensors_of(affine)], written=[result])
        return result

    def _note(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        read = tensors_of((args, kwargs))
        written = tensors_of(result)
        if func._schema.is_mutable:
            written = [args[0]]
            if name in {"copy_", "fill_"}:
                read = read[1:]
        elif written and all(_same_memory(one, read) for one in written):
            return
        for one in _copied_before(name, args):
            self.add("copies", f"{name}'s input", read=[one], written=[one])
        flop = 0
        if func.overloadpacket in flop_registry:
            flop = int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=result))
        self.add(_KIND_OF.get(name, "pointwise"), name, read=read, written=written, flop=flop)


def _copied_before(name: str, args: tuple[Any, ...]) -> list[torch.Tensor]:
    """Return what an operator copies to another layout before it begins.

    cuDNN takes a convolution's input, and gives its result, in the layout of the weights (ATen's
    native/ConvUtils.h, `cudnn_conv_suggest_memory_format`).
    """
    if name != "convolution" or not _lies_channels_last(args[1]) or _lies_channels_last(args[0]):
        return []
    return [args[0]]


def _lies_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


def tensors_of(values: Any) -> list[torch.Tensor]:
    """Return the tensors of nested tuples, lists and dictionaries, in order."""
    return [one for one in tree_leaves(values) if isinstance(one, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    """Return the bytes that a tensor's elements have; those that it repeats count once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count * tensor.element_size()


def _same_memory(tensor: torch.Tensor, others: list[torch.Tensor]) -> bool:
    storage = tensor.untyped_storage()._cdata
    return any(one.untyped_storage()._cdata == storage for one in others)
