"""The Triton kernel of a product and the gate after it (GEGLU), which writes the gated half alone.

Tiles come and go by tensor descriptors, which are TMA copies on a Hopper GPU or a later one. Each
program has two tiles of the product at once, the value's and that of its gate, and so reads the
input once for both.
"""

# A kernel's arguments are pointers and numbers, without types; those in capitals are compiled in.
# ruff: noqa: N803, PLR0917
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

__all__ = ["gated_product", "try_out"]

BLOCK_TOKENS = 128
BLOCK_COLUMNS = 128
BLOCK_WIDTH = 64
GROUP = 8
"""Tiles of tokens that share a column's weights while these are in the cache."""
WARPS = 8
STAGES = 4
"""48 KiB of shared memory each, of 227 that a program has on a Hopper GPU."""
ROOT_OF_HALF: tl.constexpr = tl.constexpr(0.7071067811865476)


@triton.jit(do_not_specialize=["tokens"])
def _gated_product(
    x,
    weight,
    bias,
    result,
    tokens,
    columns,
    width,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    GROUP: tl.constexpr,
):
    token_tiles = tl.cdiv(tokens, BLOCK_TOKENS)
    column_tiles = tl.cdiv(columns, BLOCK_COLUMNS)
    program = tl.program_id(0)
    first = program // (GROUP * column_tiles) * GROUP
    in_group = min(token_tiles - first, GROUP)
    within = program % (GROUP * column_tiles)
    token = (first + within % in_group) * BLOCK_TOKENS
    column = within // in_group * BLOCK_COLUMNS
    value = tl.zeros([BLOCK_TOKENS, BLOCK_COLUMNS], tl.float32)
    gate = tl.zeros([BLOCK_TOKENS, BLOCK_COLUMNS], tl.float32)
    for k in range(0, width, BLOCK_WIDTH):
        tile = x.load([token, k])
        value = tl.dot(tile, weight.load([column, k]).T, value)
        gate = tl.dot(tile, weight.load([columns + column, k]).T, gate)
    place = column + tl.arange(0, BLOCK_COLUMNS)
    mask = place < columns
    value += tl.load(bias + place, mask=mask, other=0.0).to(tl.float32)[None, :]
    gate += tl.load(bias + columns + place, mask=mask, other=0.0).to(tl.float32)[None, :]
    # GELU by the error function, as torch has it by default.
    gelu = 0.5 * gate * (1.0 + tl.erf(gate * ROOT_OF_HALF))
    result.store([token, column], (value * gelu).to(result.dtype))


def gated_product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return value * GELU(gate), (…, D), of the product (…, 2 D) of x (…, K), value first.

    `weight` (2 D, K) and `bias` (2 D,) as torch's linear layer has them; K and D are multiples of
    8, since a descriptor's lines begin at multiples of 16 bytes. All is summed up and gated in
    float32 and rounded once, to the dtype of x. A token's result does not depend on the others.
    """
    both, width = weight.shape
    columns = both // 2
    lines = x.reshape(-1, width).contiguous()
    tokens = len(lines)
    result = x.new_empty(tokens, columns)
    tiles = triton.cdiv(tokens, BLOCK_TOKENS) * triton.cdiv(columns, BLOCK_COLUMNS)
    _gated_product[tiles,](
        TensorDescriptor.from_tensor(lines, [BLOCK_TOKENS, BLOCK_WIDTH]),
        TensorDescriptor.from_tensor(weight, [BLOCK_COLUMNS, BLOCK_WIDTH]),
        bias,
        TensorDescriptor.from_tensor(result, [BLOCK_TOKENS, BLOCK_COLUMNS]),
        tokens,
        columns,
        width,
        BLOCK_TOKENS,
        BLOCK_COLUMNS,
        BLOCK_WIDTH,
        GROUP,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return result.view(*x.shape[:-1], columns)


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernel once on a few numbers; raises what Triton raises."""
    weight = torch.zeros(256, 64, dtype=dtype, device=device)
    gated_product(weight, weight, weight[:, 0].contiguous())
