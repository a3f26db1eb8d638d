"""The Triton kernels of GroupNorm on images (B, C, H, W) that lie channels last.

Three for a norm: each part of an image is summed up by channel, the parts' sums become a scale
and a shift for each channel, and every pixel is scaled and shifted.

What is added to an image before its norm, a number for each channel, costs no pass of its own.
With N pixels, S and Q a channel's sum and sum of squares, those of x + a are

    S + N a    and    Q + 2 a S + N a²

and its scale k and shift b make k (x + a) + b of it, which is k x + (k a + b). So the second
kernel alone reads it.
"""

# A kernel's arguments are pointers and numbers, without types; those in capitals are compiled in.
# ruff: noqa: N803, PLR0917
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl

__all__ = ["group_norm", "try_out"]

BLOCK_PIXELS = 32
BLOCK_CHANNELS = 64
"""A block is 128 B of channels by 32 pixels: a few registers for each of four warps' threads."""
BLOCKS_OF_PART = 4
MOST_PARTS = 256
BLOCK_OF_PARTS = 2048
"""Numbers that are added at once, of some parts and a group's channels: 16 for each of four warps'
threads. A group of few channels has all its parts added in one go, not in a loop that waits for
memory each time."""


# What depends on an image's size is not compiled in: another size runs the same code.
@triton.jit(do_not_specialize=["pixels", "parts", "blocks_of_part"])
def _sum_parts(
    x,
    sums,
    pixels,
    channels,
    parts,
    blocks_of_part,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    part = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    row = tl.program_id(2).to(tl.int64)
    is_channel = channel < channels
    first_pixel = part * blocks_of_part * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    total = tl.zeros([BLOCK_PIXELS, BLOCK_CHANNELS], tl.float32)
    squares = tl.zeros([BLOCK_PIXELS, BLOCK_CHANNELS], tl.float32)
    for block in range(blocks_of_part):
        pixel = first_pixel + block * BLOCK_PIXELS
        offset = (row * pixels + pixel)[:, None] * channels + channel[None, :]
        mask = (pixel < pixels)[:, None] & is_channel[None, :]
        value = tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
        total += value
        squares += value * value
    place = sums + (row * 2 * parts + part) * channels + channel
    tl.store(place, tl.sum(total, axis=0), mask=is_channel)
    tl.store(place + parts * channels, tl.sum(squares, axis=0), mask=is_channel)


@triton.jit(do_not_specialize=["pixels", "channels_of_group", "parts"])
def _scale_and_shift(
    sums,
    weight,
    bias,
    channel_addend,
    row_addend,
    affine,
    pixels,
    channels,
    channels_of_group,
    parts,
    eps,
    HAS_CHANNEL_ADDEND: tl.constexpr,
    HAS_ROW_ADDEND: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    BLOCK_OF_GROUP: tl.constexpr,
):
    group = tl.program_id(0)
    row = tl.program_id(1)
    within = tl.arange(0, BLOCK_OF_GROUP)
    channel = group * channels_of_group + within
    is_channel = within < channels_of_group
    # In float64: a mean far from 0 leaves little of the variance in float32.
    total = tl.zeros([BLOCK_PARTS, BLOCK_OF_GROUP], tl.float64)
    squares = tl.zeros([BLOCK_PARTS, BLOCK_OF_GROUP], tl.float64)
    for first in range(0, parts, BLOCK_PARTS):
        part = first + tl.arange(0, BLOCK_PARTS)
        mask = (part < parts)[:, None] & is_channel[None, :]
        place = sums + (row * 2 * parts + part)[:, None] * channels + channel[None, :]
        total += tl.load(place, mask=mask, other=0.0).to(tl.float64)
        squares += tl.load(place + parts * channels, mask=mask, other=0.0).to(tl.float64)
    of_channel = tl.sum(total, axis=0)
    squares_of_channel = tl.sum(squares, axis=0)
    added = tl.zeros([BLOCK_OF_GROUP], tl.float32)
    if HAS_CHANNEL_ADDEND:
        added += tl.load(channel_addend + channel, mask=is_channel, other=0.0).to(tl.float32)
    if HAS_ROW_ADDEND:
        place = row_addend + row * channels + channel
        added += tl.load(place, mask=is_channel, other=0.0).to(tl.float32)
    wide = added.to(tl.float64)
    squares_of_channel += wide * (2.0 * of_channel + wide * pixels)
    of_channel += wide * pixels
    count = pixels.to(tl.float64) * channels_of_group
    mean = tl.sum(of_channel, axis=0) / count
    variance = tl.sum(squares_of_channel, axis=0) / count - mean * mean
    inverse = 1.0 / tl.sqrt(tl.maximum(variance, 0.0).to(tl.float32) + eps)
    scale = tl.load(weight + channel, mask=is_channel, other=0.0).to(tl.float32) * inverse
    shift = tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)
    shift += (added - mean.to(tl.float32)) * scale
    tl.store(affine + row * 2 * channels + channel, scale, mask=is_channel)
    tl.store(affine + (row * 2 + 1) * channels + channel, shift, mask=is_channel)


@triton.jit(do_not_specialize=["pixels"])
def _apply(
    x,
    affine,
    result,
    pixels,
    channels,
    SILU: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    row = tl.program_id(2).to(tl.int64)
    is_channel = channel < channels
    scale = tl.load(affine + row * 2 * channels + channel, mask=is_channel, other=0.0)
    shift = tl.load(affine + (row * 2 + 1) * channels + channel, mask=is_channel, other=0.0)
    offset = (row * pixels + pixel)[:, None] * channels + channel[None, :]
    mask = (pixel < pixels)[:, None] & is_channel[None, :]
    value = tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    value = value * scale[None, :] + shift[None, :]
    if SILU:
        value = value / (1.0 + tl.exp(-value))
    tl.store(result + offset, value.to(result.dtype.element_ty), mask=mask)


def group_norm(
    x: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    *,
    channel_addend: torch.Tensor | None = None,
    row_addend: torch.Tensor | None = None,
    silu: bool = False,
) -> torch.Tensor:
    """Normalize x (B, C, H, W), channels last, each row by its own statistics.

    `channel_addend` (C,) and `row_addend` (B, C), contiguous, are added to x before; SiLU is taken
    of the result where `silu` says so. Sums are in float32 within a part of an image and in float64
    over the parts; the result has the dtype and layout of x, and is rounded to it once. All but x
    may have another dtype.
    """
    rows, channels, height, width = x.shape
    pixels = height * width
    # Of the image alone: a row's sums do not depend on the rows beside it.
    blocks = triton.cdiv(pixels, BLOCK_PIXELS)
    blocks_of_part = max(BLOCKS_OF_PART, triton.cdiv(blocks, MOST_PARTS))
    parts = triton.cdiv(blocks, blocks_of_part)
    channel_blocks = triton.cdiv(channels, BLOCK_CHANNELS)
    block_of_group = triton.next_power_of_2(channels // num_groups)
    sums = torch.empty(rows, 2, parts, channels, dtype=torch.float32, device=x.device)
    affine = torch.empty(rows, 2, channels, dtype=torch.float32, device=x.device)
    result = torch.empty_like(x)
    _sum_parts[parts, channel_blocks, rows](
        x, sums, pixels, channels, parts, blocks_of_part, BLOCK_PIXELS, BLOCK_CHANNELS
    )
    _scale_and_shift[num_groups, rows](
        sums,
        weight,
        bias,
        # Where there is none, a pointer that is not read.
        weight if channel_addend is None else channel_addend,
        weight if row_addend is None else row_addend,
        affine,
        pixels,
        channels,
        channels // num_groups,
        parts,
        eps,
        channel_addend is not None,
        row_addend is not None,
        min(MOST_PARTS, max(1, BLOCK_OF_PARTS // block_of_group)),
        block_of_group,
    )
    _apply[blocks, channel_blocks, rows](
        x, affine, result, pixels, channels, silu, BLOCK_PIXELS, BLOCK_CHANNELS
    )
    return result


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernels once on a small image; raises what Triton raises."""
    channels = 32
    x = torch.zeros(1, channels, 8, 8, dtype=dtype, device=device)
    weight = torch.ones(channels, dtype=dtype, device=device)
    group_norm(x.contiguous(memory_format=torch.channels_last), 8, weight, weight, 1e-5)
