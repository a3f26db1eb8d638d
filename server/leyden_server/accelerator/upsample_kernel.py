"""The Triton kernel that puts a doubled image's four kinds of pixels in their places."""

# A kernel's arguments are pointers and numbers, without types; those in capitals are compiled in.
# ruff: noqa: N803, PLR0917
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl

__all__ = ["placed", "try_out"]

BLOCK_PIXELS = 32
BLOCK_CHANNELS = 64


# What depends on an image's size is not compiled in: another size runs the same code.
@triton.jit(do_not_specialize=["height", "width"])
def _place(
    phases,
    bias,
    result,
    height,
    width,
    channels,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    pixels = 4 * height * width
    pixel = tl.program_id(0) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    row = tl.program_id(2).to(tl.int64)
    top = pixel // (2 * width)
    left = pixel % (2 * width)
    is_lower = top % 2
    is_right = left % 2
    # The product begins above and left of the image, where only lower and right pixels have none.
    source = row * (height + 1) + top // 2 + is_lower
    source = source * (width + 1) + left // 2 + is_right
    source = (source * 4 + 2 * is_lower + is_right) * channels
    is_channel = channel < channels
    mask = (pixel < pixels)[:, None] & is_channel[None, :]
    value = tl.load(phases + source[:, None] + channel[None, :], mask=mask, other=0.0)
    value = value.to(tl.float32)
    value += tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    target = (row * pixels + pixel)[:, None] * channels + channel[None, :]
    tl.store(result + target, value.to(result.dtype.element_ty), mask=mask)


def placed(phases: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return (B, C, 2 H, 2 W), channels last, of phases (B, 4 C, H + 1, W + 1), and add the bias.

    `phases` is channels last; its channels are the upper left pixels', the upper right, the lower
    left and the lower right ones', C of each. `bias` (C,) may have another dtype.
    """
    rows, channels, height, width = phases.shape
    channels, height, width = channels // 4, height - 1, width - 1
    result = torch.empty(
        (rows, channels, 2 * height, 2 * width),
        dtype=phases.dtype,
        device=phases.device,
        memory_format=torch.channels_last,
    )
    grid = (
        triton.cdiv(4 * height * width, BLOCK_PIXELS),
        triton.cdiv(channels, BLOCK_CHANNELS),
        rows,
    )
    _place[grid](phases, bias, result, height, width, channels, BLOCK_PIXELS, BLOCK_CHANNELS)
    return result


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernel once on a small image; raises what Triton raises."""
    phases = torch.zeros(1, 32, 3, 3, dtype=dtype, device=device)
    placed(phases.contiguous(memory_format=torch.channels_last), torch.zeros(8, device=device))
