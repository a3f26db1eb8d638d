"""Linear layers as one."""

import weakref
from collections.abc import Iterator

import pytest
import torch

from leyden_server.accelerator.linear import joined


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_joined_layers_give_what_each_gives(bias: bool) -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(8, width, bias=bias) for width in (3, 5, 4)]
    one = joined(layers, 12)
    x = torch.randn(2, 6, 8)
    expected = torch.cat([layer(x) for layer in layers], -1)
    torch.testing.assert_close(one(x), expected, rtol=0, atol=1e-6)
    assert one.out_features == 12
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_layers_may_go_one_by_one() -> None:
    weights: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def layers() -> Iterator[torch.nn.Linear]:
        for _ in range(4):
            alive.append(sum(weight() is not None for weight in weights))
            layer = torch.nn.Linear(8, 2)
            weights.append(weakref.ref(layer.weight))
            yield layer
            del layer

    joined(layers(), 8)
    assert alive == [0, 1, 1, 1]
