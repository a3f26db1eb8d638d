"""One layer of an adapter: its kind, its tensors, and whether their shapes fit the weight."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from leyden_server.checkpoint.layout import Parameter
from leyden_server.checkpoint.lora_names import Module
from leyden_server.checkpoint.safetensors_file import TensorInfo

__all__ = [
    "OF_BIASES",
    "DoraAxis",
    "LayerKind",
    "LoraLayer",
    "Tensors",
    "dora_axis",
    "kind_of",
    "rank_of",
    "wrong_shapes",
]

LayerKind = Literal["lora", "loha", "lokr", "diff", "norm"]
"""`lora`: LoCon, with Tucker's middle or without, too. `diff`: a full difference."""

DoraAxis = Literal["output", "input"]
"""Whether each of a DoRA's magnitudes is the norm of an output's weights or of an input's."""

Tensors = Mapping[str, TensorInfo]
"""A layer's tensors by role."""

OF_BIASES = frozenset({"up_bias", "diff_b", "b_norm"})
"""The roles of what changes a bias."""


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """What a file has for one module."""

    module: Module
    stem: str
    """What the file calls the module, with its prefix."""
    kind: LayerKind
    tensors: Tensors
    """By role: down, up, mid, hada_…, lokr_…, diff, diff_b, w_norm, b_norm, up_bias, dora_scale
    (LyCORIS' magnitudes), magnitude (peft's), alpha."""
    rank: int = 0
    """What alpha is divided by. 0: the kind has none."""
    alpha: float | None = None
    """None: none is given, and the factor is 1."""
    alpha_from: str = ""
    """The tensor's name, or `lora_adapter_metadata`."""
    rslora: bool = False
    """Whether alpha is divided by the root of the rank (arXiv 2312.03732)."""
    dora: DoraAxis | None = None
    """What each of a DoRA's magnitudes is the norm of, where the layer is one."""

    @property
    def factor(self) -> float:
        """What the product of the layer's matrices is multiplied by, before the LoRA's scale."""
        if self.alpha is None or self.rank == 0:
            return 1.0
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that the layer changes, as the layout names them."""
        changed = (
            (self.module.weight, not self.tensors.keys() <= OF_BIASES),
            (self.module.bias, bool(self.tensors.keys() & OF_BIASES)),
        )
        return tuple(
            parameter.name for parameter, is_changed in changed if parameter and is_changed
        )


Shape = tuple[int, ...]

MARKS: Mapping[LayerKind, frozenset[str]] = {
    "lora": frozenset({"down", "up", "mid", "up_bias"}),
    "loha": frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"}),
    "lokr": frozenset(
        {"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"}
    ),
    "diff": frozenset({"diff"}),
    "norm": frozenset({"w_norm", "b_norm"}),
}
"""The roles that only one kind has."""

SETS: Mapping[LayerKind, tuple[tuple[frozenset[str], ...], ...]] = {
    "lora": ((frozenset({"down", "up"}), frozenset({"down", "up", "mid"})),),
    "loha": (
        (
            frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),
            MARKS["loha"],
        ),
    ),
    "lokr": (
        (frozenset({"lokr_w1"}), frozenset({"lokr_w1_a", "lokr_w1_b"})),
        (
            frozenset({"lokr_w2"}),
            frozenset({"lokr_w2_a", "lokr_w2_b"}),
            frozenset({"lokr_w2_a", "lokr_w2_b", "lokr_t2"}),
        ),
    ),
    "diff": ((frozenset({"diff"}), frozenset()),),
    "norm": ((frozenset({"w_norm"}), frozenset()),),
}
"""Which roles make a whole: of each group exactly one set."""

BESIDE: Mapping[LayerKind, frozenset[str]] = {
    "lora": frozenset({"alpha", "dora_scale", "magnitude", "up_bias", "diff_b"}),
    "loha": frozenset({"alpha", "dora_scale", "diff_b"}),
    "lokr": frozenset({"alpha", "dora_scale", "diff_b"}),
    "diff": frozenset({"diff_b"}),
    "norm": frozenset({"b_norm"}),
}
"""What may stand beside a whole."""


def kind_of(tensors: Tensors) -> LayerKind | str:
    """Return a layer's kind by its tensors' roles, or what is wrong with them, as a sentence."""
    kinds = [kind for kind, marks in MARKS.items() if marks & tensors.keys()]
    if not kinds and "diff_b" in tensors:
        kinds = ["diff"]
    if len(kinds) != 1:
        names = ", ".join(tensor.name for tensor in tensors.values())
        two = f"is {' and '.join(kinds)} at once" if kinds else "lacks the rest of its layer"
        return f"{names}: {two}"
    (kind,) = kinds
    have = set(tensors)
    for group in SETS[kind]:
        of_group = have & frozenset().union(*group)
        if of_group not in group:
            wanted = min(group, key=lambda roles: (len(roles ^ of_group), len(roles)))
            lack = ", ".join(sorted(wanted - of_group)) or "a part"
            first = next(iter(tensors.values())).name
            return f"{first}: lacks its other half: {lack}"
        have -= of_group
    if have - BESIDE[kind]:
        odd = tensors[min(have - BESIDE[kind])].name
        return f"{odd}: means nothing to a layer of kind {kind}"
    return kind


def rank_of(kind: LayerKind, tensors: Tensors) -> int:
    """Return the rank that alpha is divided by; 0 where the kind, or a full LoKr, has none."""
    roles = {"lora": ("down",), "loha": ("hada_w1_b",), "lokr": ("lokr_w1_b", "lokr_w2_b")}
    for role in roles.get(kind, ()):
        if role in tensors:
            return _side(tensors[role].shape, 0)
    return 0


def wrong_shapes(
    kind: LayerKind, tensors: Tensors, weight: Parameter | None, bias: Parameter | None
) -> Iterator[str]:
    """Say which tensors do not fit the parameters, one sentence each."""
    of_biases = OF_BIASES & tensors.keys()
    for role in sorted(of_biases):
        if bias is None:
            yield f"{tensors[role].name}: changes a bias that its module does not have"
        else:
            yield from _compare(tensors[role], bias.shape)
    if tensors.keys() <= of_biases:
        return
    first = next(tensor.name for role, tensor in tensors.items() if role not in of_biases)
    if weight is None:
        yield f"{first}: changes a weight that its module does not have"
    elif kind == "norm":
        yield from _compare(tensors["w_norm"], weight.shape)
        if len(weight.shape) != 1:
            yield f"{first}: is for a norm, and its module is none"
    elif kind == "diff":
        yield from _compare(tensors["diff"], weight.shape)
    elif len(weight.shape) < 2:
        yield f"{first}: a layer of kind {kind} for a weight of shape {list(weight.shape)}"
    else:
        yield from _products(kind, tensors, weight.shape)
        yield from _magnitudes(tensors, weight.shape)


def _products(kind: LayerKind, tensors: Tensors, weight: Shape) -> Iterator[str]:
    shapes = {"lora": _of_lora, "loha": _of_loha, "lokr": _of_lokr}[kind](tensors, weight)
    if not shapes:
        names = " and ".join(t.name for r, t in tensors.items() if r in MARKS[kind])
        yield f"{names}: no Kronecker product of theirs has shape {list(weight)}"
    for role, wanted in shapes.items():
        if role in tensors:
            yield from _compare(tensors[role], wanted)


def _of_lora(tensors: Tensors, weight: Shape) -> dict[str, Shape]:
    out, into, *kernel = weight
    rank = rank_of("lora", tensors)
    if "mid" in tensors:
        return {"down": (rank, into), "mid": (rank, rank, *kernel), "up": (out, rank)}
    return {"down": (rank, into, *kernel), "up": (out, rank)}


def _of_loha(tensors: Tensors, weight: Shape) -> dict[str, Shape]:
    out, into, *kernel = weight
    rank = rank_of("loha", tensors)
    if "hada_t1" in tensors:
        a, b, core = (rank, out), (rank, into), (rank, rank, *kernel)
        both = {"hada_t1": core, "hada_t2": core}
    else:
        a, b, both = (out, rank), (rank, into * math.prod(kernel)), {}
    return {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": a, "hada_w2_b": b, **both}


def _of_lokr(tensors: Tensors, weight: Shape) -> dict[str, Shape]:
    """Return the shapes that fit, or nothing where the first factor's does not divide."""
    out, into, *kernel = weight
    rank = rank_of("lokr", tensors)
    if "lokr_w1" in tensors:
        rows, columns = (_side(tensors["lokr_w1"].shape, side) for side in (0, 1))
    else:
        rows = _side(tensors["lokr_w1_a"].shape, 0)
        columns = _side(tensors["lokr_w1_b"].shape, 1)
    if rows == 0 or columns == 0 or out % rows or into % columns:
        return {}
    shapes: dict[str, Shape] = {
        "lokr_w1": (rows, columns),
        "lokr_w1_a": (rows, rank),
        "lokr_w1_b": (rank, columns),
    }
    below, beside = out // rows, into // columns
    if "lokr_t2" in tensors:
        core = (rank, rank, *kernel)
        return {**shapes, "lokr_t2": core, "lokr_w2_a": (rank, below), "lokr_w2_b": (rank, beside)}
    return {
        **shapes,
        "lokr_w2": (below, beside, *kernel),
        "lokr_w2_a": (below, rank),
        "lokr_w2_b": (rank, beside * math.prod(kernel)),
    }


def _magnitudes(tensors: Tensors, weight: Shape) -> Iterator[str]:
    for role in ("dora_scale", "magnitude"):
        if role in tensors and dora_axis(role, tensors[role], weight) is None:
            shape = list(tensors[role].shape)
            yield f"{tensors[role].name}: its shape {shape} is no DoRA's of a weight {list(weight)}"


def dora_axis(role: str, tensor: TensorInfo, weight: Shape) -> DoraAxis | None:
    """Return which axis a DoRA's magnitudes are for, or None where their shape is for neither.

    peft has one for each output, of shape (out,) or (1, out, 1, 1). LyCORIS has one for each
    output, (out, 1, …), or, as all wrote before December 2024, one for each input, (1, in, …).
    """
    shape = tensor.shape
    ones = (1,) * len(shape)
    if shape and shape == (weight[0], *ones[1:]) and (role == "magnitude" or len(shape) > 1):
        return "output"
    if role == "magnitude":
        return "output" if shape == (1, weight[0], 1, 1) else None
    return "input" if len(shape) > 1 and shape == (1, weight[1], *ones[2:]) else None


def _compare(tensor: TensorInfo, wanted: Shape) -> Iterator[str]:
    if 0 in wanted:
        yield f"{tensor.name}: has rank 0"
    elif _flat(tensor.shape) != _flat(wanted):
        yield f"{tensor.name}: shape {list(tensor.shape)} in place of {list(wanted)}"


def _flat(shape: Shape) -> Shape:
    """Return a shape without the last axes of 1: a 1 x 1 convolution is a linear layer."""
    end = len(shape)
    while end > 1 and shape[end - 1] == 1:
        end -= 1
    return shape[:end]


def _side(shape: Shape, axis: int) -> int:
    return shape[axis] if axis < len(shape) else (1 if shape else 0)
