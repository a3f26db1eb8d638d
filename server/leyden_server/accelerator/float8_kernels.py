"""The Triton kernel that rounds rows to 8-bit floats, their scales found in the same pass."""

# A kernel's arguments are pointers and numbers, without types; those in capitals are compiled in.
# ruff: noqa: N803
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl

__all__ = ["quantize_rows", "try_out"]

SMALLEST_MAXIMUM: tl.constexpr = tl.constexpr(1e-12)
LARGEST: tl.constexpr = tl.constexpr(448.0)
FEW_COLUMNS = 1024
"""Up to which 4 warps have enough to do; wider rows get 8."""


@triton.jit
def scale_of(y):
    """Return the scale of a row (BLOCK,) float32, whose places beyond its end are 0."""
    return tl.maximum(tl.max(tl.abs(y), axis=0), SMALLEST_MAXIMUM) / LARGEST


@triton.jit
def _quantize_rows(x, values, scales, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    mask = column < width
    place = row * width + column
    y = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    scale = scale_of(y)
    tl.store(values + place, (y / scale).to(values.dtype.element_ty), mask=mask)
    tl.store(scales + row, scale)


def quantize_rows(
    x: torch.Tensor, dtype: torch.dtype = torch.float8_e4m3fn
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x (…, K) with each row divided by its scale, in `dtype`, and the scales (…, 1).

    The scales are float32. In a wider `dtype` than e4m3 the values are not rounded, which is how
    Triton's interpreter, whose own conversion to e4m3 loses carries, can be held to torch.
    """
    x = x.contiguous()
    width = x.shape[-1]
    values = torch.empty_like(x, dtype=dtype)
    scales = x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)
    block = triton.next_power_of_2(width)
    _quantize_rows[(scales.numel(),)](
        x, values, scales, width, block, num_warps=4 if block <= FEW_COLUMNS else 8
    )
    return values, scales


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernel once on a few numbers; raises what Triton raises."""
    quantize_rows(torch.zeros(1, 64, dtype=dtype, device=device))
