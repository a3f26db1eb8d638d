"""The Triton kernels of GEGLU: GELU of the one half times the other, in one pass."""

# A kernel's arguments are pointers and numbers, without types; those in capitals are compiled in.
# ruff: noqa: N803
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl

from leyden_server.accelerator.float8_kernels import scale_of

__all__ = ["gate", "gate_rows", "try_out"]

BLOCK = 1024
ROOT_OF_HALF: tl.constexpr = tl.constexpr(0.7071067811865476)


@triton.jit
def _gated(value, gate):
    # GELU by the error function, as torch has it by default.
    return value * (0.5 * gate * (1.0 + tl.erf(gate * ROOT_OF_HALF)))


@triton.jit
def _gate(projected, result, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < width
    place = projected + row * 2 * width + column
    value = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(place + width, mask=mask, other=0.0).to(tl.float32)
    gated = _gated(value, gate).to(result.dtype.element_ty)
    tl.store(result + row * width + column, gated, mask=mask)


@triton.jit
def _gate_rows(projected, values, scales, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    mask = column < width
    place = projected + row * 2 * width + column
    value = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(place + width, mask=mask, other=0.0).to(tl.float32)
    gated = _gated(value, gate)
    scale = scale_of(gated)
    rounded = (gated / scale).to(values.dtype.element_ty)
    tl.store(values + row * width + column, rounded, mask=mask)
    tl.store(scales + row, scale)


def gate(projected: torch.Tensor) -> torch.Tensor:
    """Return value * GELU(gate), (…, D), of projected (…, 2 D), value first.

    Both halves are multiplied in float32; the result has the dtype of `projected`.
    """
    projected = projected.contiguous()
    *shape, both = projected.shape
    width = both // 2
    result = projected.new_empty(*shape, width)
    _gate[result.numel() // width, triton.cdiv(width, BLOCK)](projected, result, width, BLOCK)
    return result


def gate_rows(
    projected: torch.Tensor, dtype: torch.dtype = torch.float8_e4m3fn
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same, but divide each row of the result by its scale, before it is rounded.

    Returns the quotients (…, D) in `dtype`, and the scales (…, 1) float32, as `float8_kernels` has
    them.
    """
    projected = projected.contiguous()
    *shape, both = projected.shape
    width = both // 2
    values = projected.new_empty(*shape, width, dtype=dtype)
    scales = projected.new_empty(*shape, 1, dtype=torch.float32)
    _gate_rows[(scales.numel(),)](
        projected, values, scales, width, triton.next_power_of_2(width), num_warps=8
    )
    return values, scales


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernel once on a few numbers; raises what Triton raises."""
    gate(torch.zeros(1, 64, dtype=dtype, device=device))
