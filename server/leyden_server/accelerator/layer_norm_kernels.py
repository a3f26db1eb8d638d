"""The Triton kernel of a sum and LayerNorm: each token is read once, and both are written."""

# A kernel's arguments are pointers and numbers, without types; those in capitals are compiled in.
# ruff: noqa: N803, PLR0917
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl

from leyden_server.accelerator.float8_kernels import scale_of

__all__ = ["add_norm", "add_norm_rows", "try_out"]

WARPS_UP_TO_1024 = 4
WARPS_ABOVE = 8


@triton.jit
def _add_norm(
    stream,
    delta,
    offset,
    weight,
    bias,
    normed,
    scales,
    width,
    eps,
    HAS_OFFSET: tl.constexpr,
    HAS_DELTA: tl.constexpr,
    HAS_SCALES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    mask = column < width
    place = token * width + column
    value = tl.load(stream + place, mask=mask, other=0.0).to(tl.float32)
    if HAS_DELTA:
        value += tl.load(delta + place, mask=mask, other=0.0).to(tl.float32)
        kept = value.to(stream.dtype.element_ty)
        tl.store(stream + place, kept, mask=mask)
        # What is normalized is what the stream holds from now on, as where torch adds.
        value = kept.to(tl.float32)
    if HAS_OFFSET:
        value += tl.load(offset + column, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=0) / width
    centred = tl.where(mask, value - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / width
    scale = tl.load(weight + column, mask=mask, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=mask, other=0.0).to(tl.float32)
    value = centred * (1.0 / tl.sqrt(variance + eps)) * scale + shift
    if HAS_SCALES:
        largest = scale_of(value)
        tl.store(scales + token, largest)
        value = value / largest
    tl.store(normed + place, value.to(normed.dtype.element_ty), mask=mask)


def add_norm(
    stream: torch.Tensor,
    delta: torch.Tensor | None,
    offset: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    """Add `delta` to `stream` in place and return LayerNorm of the sum; all (…, C), contiguous.

    The sum is rounded to the stream's dtype, mean and variance are taken in float32 from that and
    `offset` (C,), which the stream is not given; the result has the dtype of `stream`. `offset`,
    `weight` and `bias` (C,) may have another dtype.
    """
    normed = torch.empty_like(stream)
    _launch(stream, delta, offset, weight, bias, eps, normed, None)
    return normed


def add_norm_rows(
    stream: torch.Tensor,
    delta: torch.Tensor | None,
    offset: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    dtype: torch.dtype = torch.float8_e4m3fn,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same, but divide each token of the result by its scale, before it is rounded.

    Returns the quotients (…, C) in `dtype`, and the scales (…, 1) float32, as `float8_kernels` has
    them.
    """
    values = torch.empty_like(stream, dtype=dtype)
    scales = stream.new_empty(*stream.shape[:-1], 1, dtype=torch.float32)
    _launch(stream, delta, offset, weight, bias, eps, values, scales)
    return values, scales


def _launch(
    stream: torch.Tensor,
    delta: torch.Tensor | None,
    offset: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    normed: torch.Tensor,
    scales: torch.Tensor | None,
) -> None:
    width = stream.shape[-1]
    block = triton.next_power_of_2(width)
    _add_norm[stream.numel() // width,](
        stream,
        stream if delta is None else delta,
        weight if offset is None else offset,
        weight,
        bias,
        normed,
        normed if scales is None else scales,
        width,
        eps,
        offset is not None,
        delta is not None,
        scales is not None,
        block,
        num_warps=WARPS_UP_TO_1024 if block <= 1024 else WARPS_ABOVE,
    )


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernel once on a few numbers; raises what Triton raises."""
    stream = torch.zeros(1, 64, dtype=dtype, device=device)
    weight = torch.ones(64, dtype=dtype, device=device)
    add_norm(stream, torch.zeros_like(stream), None, weight, weight, 1e-5)
