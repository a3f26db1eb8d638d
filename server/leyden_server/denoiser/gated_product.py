"""A linear layer and the gate after it (GEGLU): in one kernel, where that is the faster way.

The layer's result is a transformer block's widest tensor, eight times the width of its tokens. One
kernel for both neither writes nor reads it: of a step of SDXL's UNet at 1024 px with 8 rows, 27 of
123 GB. But it is a product in Triton in the place of one of NVIDIA's own, and which of the two ways
is faster is another matter on every card. So both are timed, once for each shape.
"""

from functools import cache

import torch
from torch import nn

from leyden_server.accelerator.triton_kernels import kernels_for, triton_kernels
from leyden_server.accelerator.two_ways import is_faster
from leyden_server.denoiser.geglu import Gate

__all__ = ["KERNELS", "gated_product"]

KERNELS = "leyden_server.denoiser.gated_product_kernel"

GENERATIONS = (9, 10)
"""Major compute capabilities (Hopper, Blackwell) of GPUs that have copies by descriptors and as
much shared memory as the kernel takes."""
LINES_OF = 8
"""A layer's widths are multiples of it, or the kernel is not for it."""


def gated_product(x: torch.Tensor, layer: nn.Linear, gate: Gate) -> torch.Tensor:
    """Return (…, D) of x (…, K): what `gate` makes of the layer's (…, 2 D)."""
    width, columns = layer.in_features, layer.out_features // 2
    kernels = kernels_for(x, KERNELS) if _may_be_faster(x.device, width, columns) else None
    if kernels is not None and _is_faster(x.device, x.dtype, len(x.flatten(0, -2)), width, columns):
        product: torch.Tensor = kernels.gated_product(x, layer.weight, layer.bias)
        return product
    gated: torch.Tensor = gate(layer(x))
    return gated


def _may_be_faster(device: torch.device, width: int, columns: int) -> bool:
    return (
        device.type == "cuda"
        and torch.cuda.is_available()
        and torch.cuda.get_device_capability(device)[0] in GENERATIONS
        and width % LINES_OF == 0
        and columns % LINES_OF == 0
    )


@cache
def _is_faster(
    device: torch.device, dtype: torch.dtype, tokens: int, width: int, columns: int
) -> bool:
    """Time both ways on random numbers.

    Raises:
        torch.OutOfMemoryError: the device has no memory left.

    """
    kernels = triton_kernels(KERNELS, device, dtype)
    assert kernels is not None, "whoever asks has them"
    layer, gate = nn.Linear(width, 2 * columns, device=device, dtype=dtype), Gate()
    x = torch.randn(tokens, width, device=device, dtype=dtype)

    def in_one() -> torch.Tensor:
        product: torch.Tensor = kernels.gated_product(x, layer.weight, layer.bias)
        return product

    def in_two() -> torch.Tensor:
        gated: torch.Tensor = gate(layer(x))
        return gated

    what = f"GEGLU of {tokens} tokens, {width} to {columns}, as one kernel"
    return is_faster(what, in_one, in_two)
