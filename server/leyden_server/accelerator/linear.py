"""Linear layers that read the same input, as one product."""

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["joined"]


def joined(layers: Sequence[nn.Linear]) -> nn.Linear:
    """Return one layer whose outputs are those of `layers`, side by side.

    All have the same input, and a bias or none.
    """
    first = layers[0]
    one = nn.Linear(first.in_features, 1, bias=first.bias is not None, device="meta")
    one.out_features = sum(layer.out_features for layer in layers)
    one.weight = _frozen(torch.cat([layer.weight.detach() for layer in layers]))
    if first.bias is not None:
        one.bias = _frozen(torch.cat([layer.bias.detach() for layer in layers]))
    return one


def _frozen(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
