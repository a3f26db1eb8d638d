"""GroupNorm as a GPU runs it, by Triton or as tiles have it, against torch's own."""

import pytest
import torch
from support.group_norm import random_norm

from leyden_server.accelerator.group_norm import KERNELS, GroupNorm, replace_group_norms
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


@on_a_gpu
@pytest.mark.parametrize(
    "shape", [(3, 320, 32, 24), (1, 2560, 5, 3), (2, 128, 300, 260), (2, 32, 9, 7), (2, 64, 1, 1)]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_by_triton_it_is_a_group_norm_of_each_row(
    dtype: torch.dtype, shape: tuple[int, int, int, int]
) -> None:
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
