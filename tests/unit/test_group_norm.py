"""GroupNorm as a GPU runs it, by Triton or as tiles have it, against torch's own."""

import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from support.group_norm import random_norm
from support.triton_interpreter import Interpreter

from leyden_server.accelerator.group_norm import (
    KERNELS,
    GroupNorm,
    GroupNormSiLU,
    join_last_norm,
    replace_group_norms,
)
from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.vae.shared_group_norm import _SharedGroupNorm

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_tiles_are_it_is_a_group_norm_of_each_row(dtype: torch.dtype) -> None:
    norm, x = random_norm(dtype, rows=3)
    x[1] += 40  # a row far from grey, where a variance from sums loses digits
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = norm.double()(x.double())
        found = _SharedGroupNorm(norm.to(dtype)).one_by_one(x)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_on_a_cpu_a_replaced_norm_is_torchs_own() -> None:
    norm, x = random_norm(torch.bfloat16, rows=2)
    module = torch.nn.Sequential(norm, torch.nn.SiLU())
    names = list(module.state_dict())
    with torch.inference_mode():
        expected = module(x)
        replace_group_norms(module)
        assert torch.equal(module(x), expected)
    assert isinstance(module[0], GroupNorm)
    assert list(module.state_dict()) == names
    assert module[0].weight is norm.weight


Shape = tuple[int, int, int, int]


def test_on_a_cpu_addends_and_silu_are_torchs_operators() -> None:
    norm, x = random_norm(torch.float32, rows=2)
    channel_addend, row_addend = torch.randn(8), torch.randn(2, 8)
    with torch.inference_mode():
        added = x + channel_addend[:, None, None] + row_addend[:, :, None, None]
        expected = F.silu(norm(added))
        found = GroupNorm(norm)(x, channel_addend=channel_addend, row_addend=row_addend, silu=True)
        assert torch.equal(found, expected)
        assert torch.equal(GroupNormSiLU(norm)(x), F.silu(norm(x)))


def test_the_last_norm_of_a_unet_takes_silu_itself() -> None:
    module: Any = torch.nn.Module()
    module.conv_norm_out, x = random_norm(torch.float32, rows=2)
    module.conv_act = torch.nn.SiLU()
    with torch.inference_mode():
        expected = module.conv_act(module.conv_norm_out(x))
        join_last_norm(module)
        assert isinstance(module.conv_norm_out, GroupNormSiLU)
        assert torch.equal(module.conv_act(module.conv_norm_out(x)), expected)


# Several parts of an image, the last not full; channels that fill no block; pixels fewer than one.
@pytest.mark.parametrize("shape", [(2, 32, 21, 15), (2, 96, 5, 3), (1, 64, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("adds", ["nothing", "to channels", "to rows", "both"])
def test_interpreted_it_is_a_norm_of_the_sum_and_silu(
    interpreter: Interpreter, dtype: torch.dtype, shape: Shape, adds: str
) -> None:
    interpreter(check_kernels, dtype, shape, adds, "cpu")


def test_interpreted_an_images_parts_may_be_added_in_several_goes(interpreter: Interpreter) -> None:
    interpreter(check_two_parts_at_once)


def check_two_parts_at_once() -> None:
    kernels: Any = importlib.import_module(KERNELS)
    at_once, kernels.BLOCK_OF_PARTS = kernels.BLOCK_OF_PARTS, 2
    try:
        # Three parts of one channel a group.
        check_kernels(torch.float16, (2, 32, 21, 15), "both", "cpu")
    finally:
        kernels.BLOCK_OF_PARTS = at_once


@on_a_gpu
@pytest.mark.parametrize("shape", [(3, 320, 32, 24), (1, 2560, 5, 3), (2, 128, 300, 260)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("adds", ["nothing", "both"])
def test_by_triton_it_is_a_norm_of_the_sum_and_silu(
    dtype: torch.dtype, shape: Shape, adds: str
) -> None:
    check_kernels(dtype, shape, adds, "cuda")


def check_kernels(dtype: torch.dtype, shape: Shape, adds: str, device: str) -> None:
    """Compare with float64, within what rounding to `dtype` does, and a row with itself alone."""
    torch.manual_seed(0)
    rows, channels, _, _ = shape
    norm = torch.nn.GroupNorm(32, channels, device=device, dtype=dtype)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (3 * torch.randn(shape, device=device) + 1).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    # Of the size of what a convolution leaves out, and more: variance and mean are of the sum.
    to_channels = (20 * torch.randn(channels, device=device)).to(dtype)
    to_rows = torch.randn(rows, channels, device=device).to(dtype)
    channel_addend = to_channels if adds in ("to channels", "both") else None
    row_addend = to_rows if adds in ("to rows", "both") else None
    ours = GroupNorm(norm)
    with torch.inference_mode():
        added = x.double()
        if channel_addend is not None:
            added = added + channel_addend.double()[:, None, None]
        if row_addend is not None:
            added = added + row_addend.double()[:, :, None, None]
        expected = torch.nn.GroupNorm(32, channels, device=device, dtype=torch.float64)
        expected.load_state_dict(norm.state_dict())
        normalized = expected(added)
        for silu in (False, True):
            found = ours(x, channel_addend=channel_addend, row_addend=row_addend, silu=silu)
            alone = ours(
                x[:1],
                channel_addend=channel_addend,
                row_addend=None if row_addend is None else row_addend[:1],
                silu=silu,
            )
            # Rounded once; the interpreter cuts digits off where a GPU rounds.
            step = torch.finfo(dtype).eps
            torch.testing.assert_close(
                found.double(), F.silu(normalized) if silu else normalized, atol=step, rtol=step
            )
            assert torch.equal(found[:1], alone)
            assert found.dtype == dtype
            assert found.is_contiguous(memory_format=torch.channels_last)
    assert triton_kernels(KERNELS, x.device, dtype) is not None


@on_a_gpu
@pytest.mark.parametrize(
    "shape", [(3, 320, 32, 24), (1, 2560, 5, 3), (2, 128, 300, 260), (2, 32, 9, 7), (2, 64, 1, 1)]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_by_triton_it_is_a_group_norm_of_each_row(dtype: torch.dtype, shape: Shape) -> None:
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(32, shape[1], device="cuda", dtype=dtype)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = 3 * torch.randn(shape, device="cuda") + 1
    x[-1] += 40
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    ours = GroupNorm(norm)
    with torch.inference_mode():
        found = ours(x)
        alone = ours(x[:1])
        expected = torch.nn.GroupNorm(32, shape[1], device="cuda", dtype=torch.float64)
        expected.load_state_dict(norm.state_dict())
        torch.testing.assert_close(found.double(), expected(x.double()), atol=0.05, rtol=0.01)
    assert triton_kernels(KERNELS, x.device, dtype) is not None
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    # What becomes of a row does not depend on those beside it.
    assert torch.equal(found[:1], alone)


@on_a_gpu
def test_another_layout_comes_out_channels_last() -> None:
    norm, x = random_norm(torch.bfloat16, rows=2)
    ours = GroupNorm(norm.cuda())
    with torch.inference_mode():
        found = ours(x.cuda())
        assert torch.equal(found, ours(x.cuda().contiguous(memory_format=torch.channels_last)))
    assert found.is_contiguous(memory_format=torch.channels_last)


@on_a_gpu
def test_without_triton_torch_operators_stand_in(no_triton: None) -> None:
    norm, x = random_norm(torch.bfloat16, rows=2)
    ours = GroupNorm(norm.cuda())
    x = x.cuda().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(ours(x), norm(x))
