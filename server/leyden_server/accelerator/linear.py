"""Linear layers that read the same input, as one product."""

from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["joined"]


def joined(layers: Iterable[nn.Linear], out_features: int) -> nn.Linear:
    """Return one layer whose outputs are those of `layers`, side by side.

    All have the same input, and a bias or none; together they have `out_features` outputs. Each is
    copied before the next is asked for, so whoever yields them may let go of them one by one.
    """
    one: nn.Linear | None = None
    row = 0
    for layer in layers:
        if one is None:
            one = _empty_like(layer, out_features)
        rows = slice(row, row + layer.out_features)
        one.weight[rows].copy_(layer.weight.detach())
        if layer.bias is not None:
            one.bias[rows].copy_(layer.bias.detach())
        row = rows.stop
    assert one is not None, "there is a layer"
    assert row == out_features, f"{row} outputs, {out_features} told"
    return one


def _empty_like(layer: nn.Linear, out_features: int) -> nn.Linear:
    one = nn.Linear(layer.in_features, 1, bias=layer.bias is not None, device="meta")
    one.out_features = out_features
    one.weight = _frozen(layer.weight.new_empty(out_features, layer.in_features))
    if layer.bias is not None:
        one.bias = _frozen(layer.bias.new_empty(out_features))
    return one


def _frozen(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
