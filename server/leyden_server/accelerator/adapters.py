"""What LoRAs make of a model's weights: each layer's formula, and several files one after another.

With `s` the scale that a LoRA is given, `f` its layer's factor (alpha / rank, or alpha / sqrt(rank)
where it is rank-stabilised, arXiv 2312.03732) and `dW` the product of its matrices:

    LoRA, LoCon      W + s f up down                             arXiv 2106.09685, 2309.14859
    with Tucker      W + s f (mid x1 up x2 down)                 arXiv 2309.14859
    LoHa             W + s f (w1a w1b) * (w2a w2b)               arXiv 2108.06098
    LoKr             W + s f (w1 kron w2)                        arXiv 2309.14859
    difference       W + s diff, for norms and biases, too
    DoRA, LyCORIS'   V = W + f dW;    V (1 + s (m / |V| - 1))    arXiv 2402.09353
    DoRA, peft's     V = W + s f dW;  V m / |V|                  arXiv 2402.09353

`|V|` is the norm of each output's weights, or of each input's where the file has magnitudes `m` for
inputs. The two DoRAs differ only where `s` is not 1: LyCORIS scales how far the magnitudes are
taken, peft how far the direction is turned. Each is as its own merge does it, so `s = 0` does not
undo either.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import torch

from leyden_server.accelerator.tensor_files import is_finite, read_tensor
from leyden_server.checkpoint.lora_file import LoraFile
from leyden_server.checkpoint.lora_layer import OF_BIASES, DoraAxis, LayerKind, LoraLayer
from leyden_server.checkpoint.model_plan import ModelPlan
from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ResolvedModel

__all__ = ["Adapters", "adapters_of", "merged", "merged_bias"]

Tensors = Mapping[str, torch.Tensor]
"""A layer's tensors by role, float32."""


class Adapters:
    """LoRA files, each with its scale, as they change one part of a model.

    They act in the order given, each on what those before it have made. That decides only where a
    DoRA is among them, whose norms are of the weight that it finds; so it is when files are merged
    one after another by LyCORIS, or fused and unloaded by diffusers.
    """

    def __init__(self, part: str, loras: Sequence[tuple[LoraFile, float]]) -> None:
        self._changes: dict[str, list[Change]] = {}
        for lora, scale in loras:
            for layer in lora.layers:
                for name in layer.parameters if layer.module.part == part else ():
                    self._changes.setdefault(name, []).append((lora.file, layer, scale))
        self._names = frozenset(self._changes)

    @property
    def names(self) -> frozenset[str]:
        """The parameters that change, as the part's layout names them."""
        return self._names

    def change(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return what a parameter becomes: float32, of its shape. Reads its layers' tensors.

        `tensor` is float32 and contiguous, and may be what is returned, changed in place.

        Raises:
            ModelRepositoryError: a tensor of a LoRA, or what it makes of the parameter, has NaN or
                infinity, or the file has become shorter; file and tensor are named.

        """
        layers = self._changes[name]
        # What follows one another alike is one product: up and down matrices side by side.
        for alike in _groups(layers):
            pairs = [(layer, _tensors_of(file, layer, name), scale) for file, layer, scale in alike]
            tensor = _merged_together(tensor, pairs, name)
        if not is_finite(tensor):
            file, layer, _ = layers[-1]
            raise ModelRepositoryError(
                f"{file.path}: {layer.stem}: makes NaN or infinity of {name}"
            )
        return tensor


Change = tuple[SafetensorsFile, LoraLayer, float]
"""A layer, the file that it is from, and the scale that the file is given."""


def _groups(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Split what changes a parameter into runs of plain pairs, and others one by one."""
    for is_pair, run in groupby(changes, lambda change: _is_pair(change[1])):
        if is_pair:
            yield list(run)
        else:
            yield from ([change] for change in run)


def _is_pair(layer: LoraLayer) -> bool:
    return layer.kind == "lora" and layer.dora is None and "mid" not in layer.tensors


def _tensors_of(file: SafetensorsFile, layer: LoraLayer, name: str) -> Tensors:
    is_bias = _is_bias(layer, name)
    return {
        role: read_tensor(file, info.name)
        for role, info in layer.tensors.items()
        if role != "alpha" and (role in OF_BIASES) == is_bias
    }


def _is_bias(layer: LoraLayer, name: str) -> bool:
    return layer.module.bias is not None and layer.module.bias.name == name


def _merged_together(
    tensor: torch.Tensor, alike: Sequence[tuple[LoraLayer, Tensors, float]], name: str
) -> torch.Tensor:
    first = alike[0][0]
    if _is_bias(first, name):
        for layer, tensors, scale in alike:
            tensor = merged_bias(tensor, layer, tensors, scale)
        return tensor
    if len(alike) == 1:
        return merged(tensor, *alike[0])
    ups = [scale * layer.factor * _matrix(tensors["up"]) for layer, tensors, scale in alike]
    downs = [_matrix(tensors["down"]) for _, tensors, _ in alike]
    _matrix(tensor).addmm_(torch.cat(ups, dim=1), torch.cat(downs))
    return tensor


def adapters_of(model: ResolvedModel, part: str, plan: ModelPlan) -> Adapters:
    """Return what a model's LoRAs change of one of its parts."""
    return Adapters(part, [(plan.lora(lora.file), lora.scale) for lora in model.loras_of(part)])


def merged(weight: torch.Tensor, layer: LoraLayer, tensors: Tensors, scale: float) -> torch.Tensor:
    """Return a weight as a layer changes it; float32 (out, in) or (out, in, height, width).

    `weight` is changed in place.
    """
    if layer.dora is None:
        return _added(weight, layer, tensors, scale)
    if "magnitude" in tensors:
        turned = _added(weight, layer, tensors, scale)
        ratio = _along(layer.dora, tensors["magnitude"], turned) / _norms(layer.dora, turned)
        return turned.mul_(ratio)
    turned = _added(weight, layer, tensors, 1.0)
    norms = _norms(layer.dora, turned) + torch.finfo(turned.dtype).eps
    ratio = _along(layer.dora, tensors["dora_scale"], turned) / norms
    return turned.mul_(ratio if scale == 1 else 1 + scale * (ratio - 1))


def _added(weight: torch.Tensor, layer: LoraLayer, tensors: Tensors, scale: float) -> torch.Tensor:
    """Return the sum of a weight and a layer's difference, without a DoRA's magnitudes."""
    strength = scale * layer.factor
    if layer.kind == "lora" and "mid" not in tensors:
        up, down = _matrix(tensors["up"]), _matrix(tensors["down"])
        # In one pass: of most LoRAs all layers are such, and they reach nearly every weight.
        return _matrix(weight).addmm_(up, down, alpha=strength).reshape(weight.shape)
    return weight.add_(DIFFERENCES[layer.kind](tensors, weight.shape), alpha=strength)


def merged_bias(
    bias: torch.Tensor, layer: LoraLayer, tensors: Tensors, scale: float
) -> torch.Tensor:
    """Return a bias as a layer changes it; float32 (out,)."""
    for role, difference in tensors.items():
        # peft's is of the second matrix, whose product has the factor.
        factor = layer.factor if role == "up_bias" else 1.0
        bias = bias + scale * factor * difference.reshape(bias.shape)
    return bias


def _full(tensors: Tensors, shape: torch.Size) -> torch.Tensor:
    (difference,) = tensors.values()
    return difference.reshape(shape)


def _tucker_lora(tensors: Tensors, shape: torch.Size) -> torch.Tensor:
    up, down = _matrix(tensors["up"]), _matrix(tensors["down"])
    return _tucker(tensors["mid"], up.T, down).reshape(shape)


def _loha(tensors: Tensors, shape: torch.Size) -> torch.Tensor:
    factors = []
    for one in ("1", "2"):
        a, b = _matrix(tensors[f"hada_w{one}_a"]), _matrix(tensors[f"hada_w{one}_b"])
        core = tensors.get(f"hada_t{one}")
        factors.append(a @ b if core is None else _tucker(core, a, b))
    return (factors[0] * factors[1]).reshape(shape)


def _lokr(tensors: Tensors, shape: torch.Size) -> torch.Tensor:
    first = _lokr_factor(tensors, "1")
    out, into, *kernel = shape
    second = _lokr_factor(tensors, "2").reshape(
        out // first.shape[0], into // first.shape[1], *kernel
    )
    # torch takes views of both, which what einsum gives may not have.
    first = first.reshape(*first.shape, *[1] * len(kernel))
    return torch.kron(first.contiguous(), second.contiguous())


def _lokr_factor(tensors: Tensors, which: str) -> torch.Tensor:
    """Return (out, the rest) of one of a LoKr's two factors."""
    whole = tensors.get(f"lokr_w{which}")
    if whole is not None:
        return _matrix(whole)
    a, b = _matrix(tensors[f"lokr_w{which}_a"]), _matrix(tensors[f"lokr_w{which}_b"])
    core = tensors.get(f"lokr_t{which}")
    return a @ b if core is None else _tucker(core, a, b)


DIFFERENCES: Mapping[LayerKind, Callable[[Tensors, torch.Size], torch.Tensor]] = {
    "lora": _tucker_lora,
    "loha": _loha,
    "lokr": _lokr,
    "diff": _full,
    "norm": _full,
}
"""A layer's difference, in the shape of its weight, before its factor."""


def _matrix(tensor: torch.Tensor) -> torch.Tensor:
    """Drop the axes of 1 that convolutions have, or a rank of 1 has lost."""
    return tensor.reshape(tensor.shape[0], -1)


def _tucker(core: torch.Tensor, outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Return (out, in, …) of a core (r, r, …), outputs (r, out) and inputs (r, in)."""
    return torch.einsum("ij...,io,jn->on...", core, outputs, inputs)


def _norms(axis: DoraAxis, weight: torch.Tensor) -> torch.Tensor:
    """Return the norm over all axes but that of outputs or inputs, which keep their places."""
    kept = 0 if axis == "output" else 1
    others = [place for place in range(weight.ndim) if place != kept]
    norms: torch.Tensor = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
    return norms


def _along(axis: DoraAxis, magnitudes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    shape = [1] * weight.ndim
    shape[0 if axis == "output" else 1] = -1
    return magnitudes.reshape(shape)
