"""The Triton kernel at a ResNet block's end: what came in, what became of it, and the biases."""

# A kernel's arguments are pointers and numbers, without types; those in capitals are compiled in.
# ruff: noqa: N803, PLR0917
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl

__all__ = ["add", "try_out"]

BLOCK_PIXELS = 32
BLOCK_CHANNELS = 64


# What depends on an image's size is not compiled in: another size runs the same code.
@triton.jit(do_not_specialize=["pixels"])
def _add(
    x,
    y,
    bias,
    result,
    pixels,
    channels,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    row = tl.program_id(2).to(tl.int64)
    is_channel = channel < channels
    offset = (row * pixels + pixel)[:, None] * channels + channel[None, :]
    mask = (pixel < pixels)[:, None] & is_channel[None, :]
    total = tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(y + offset, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    tl.store(result + offset, total.to(result.dtype.element_ty), mask=mask)


def add(x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return x + y + bias of each channel: (B, C, H, W), channels last, in the dtype of x.

    x and y are channels last, `bias` (C,) may have another dtype. The sum is in float32 and rounded
    once.
    """
    rows, channels, height, width = x.shape
    pixels = height * width
    result = torch.empty_like(x)
    grid = (triton.cdiv(pixels, BLOCK_PIXELS), triton.cdiv(channels, BLOCK_CHANNELS), rows)
    _add[grid](x, y, bias, result, pixels, channels, BLOCK_PIXELS, BLOCK_CHANNELS)
    return result


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernel once on a small image; raises what Triton raises."""
    x = torch.zeros(1, 8, 2, 2, dtype=dtype, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    add(x, x, torch.zeros(8, device=device))
