"""A sum and the LayerNorm after it, in one kernel, against torch's operators."""

import pytest
import torch
from support.triton_interpreter import Interpreter

from leyden_server.accelerator.layer_norm import KERNELS, AddNorm
from leyden_server.accelerator.triton_kernels import triton_kernels

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

HALF = [torch.float16, torch.bfloat16]
WIDTHS = [40, 1280, 1025]


def random_norm(width: int, dtype: torch.dtype) -> torch.nn.LayerNorm:
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(width)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm.to(dtype)


def random_summands(width: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both, (2, 5, width); the last token is far from 0, which costs a variance digits."""
    stream, delta = 3 * torch.randn(2, 5, width), torch.randn(2, 5, width)
    stream[1, 4] += 40
    return stream.to(dtype), delta.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("lacks", [True, False])
def test_on_a_cpu_it_is_torchs_sum_and_norm(dtype: torch.dtype, adds: bool, lacks: bool) -> None:
    norm = random_norm(40, dtype)
    stream, delta = random_summands(40, dtype)
    offset = torch.randn(40) if lacks else None
    with torch.inference_mode():
        summed = stream + delta if adds else stream.clone()
        expected = norm(summed if offset is None else summed + offset.to(dtype))
        found = AddNorm(norm)(stream, delta if adds else None, offset)
    assert torch.equal(found, expected)
    assert torch.equal(stream, summed)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", HALF)
def test_interpreted_the_kernel_is_a_sum_and_a_norm(
    interpreter: Interpreter, dtype: torch.dtype, width: int
) -> None:
    interpreter(check_kernel, dtype, width, "cpu")


@on_a_gpu
@pytest.mark.parametrize("width", [40, 640, 1280, 1025])
@pytest.mark.parametrize("dtype", HALF)
def test_by_triton_it_is_a_sum_and_a_norm(dtype: torch.dtype, width: int) -> None:
    check_kernel(dtype, width, "cuda")


def check_kernel(dtype: torch.dtype, width: int, device: str) -> None:
    """Compare the kernel with float64: within what rounding to `dtype` once does."""
    norm = random_norm(width, dtype)
    stream, delta = (one.to(device) for one in random_summands(width, dtype))
    ours = AddNorm(norm.to(device))
    assert triton_kernels(KERNELS, stream.device, dtype) is not None
    # Triton's interpreter cuts digits off where a GPU rounds to the nearest bfloat16.
    cuts = dtype == torch.bfloat16 and device == "cpu"
    rounding = 1.01 * torch.finfo(dtype).eps * (1 if cuts else 0.5)
    lacking = torch.randn(width, device=device)
    for added, offset in ((delta, None), (None, None), (None, lacking), (delta, lacking)):
        summed = stream.double() + (0 if added is None else added.double())
        found_sum, sum_alone = stream.clone(), stream[1:, 4:].clone()
        with torch.inference_mode():
            found = ours(found_sum, added, offset)
            found_alone = ours(sum_alone, None if added is None else added[1:, 4:], offset)
        torch.testing.assert_close(found_sum.double(), summed, rtol=rounding, atol=0)
        normalized = found_sum.double() + (0 if offset is None else offset.double())
        expected = torch.nn.functional.layer_norm(
            normalized, (width,), norm.weight.double(), norm.bias.double(), norm.eps
        )
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=rounding, atol=2e-4)
        # What becomes of a token does not depend on the others.
        assert torch.equal(found[1:, 4:], found_alone)
        assert torch.equal(found_sum[1:, 4:], sum_alone)


@on_a_gpu
def test_without_triton_torch_operators_stand_in(no_triton: None) -> None:
    norm = random_norm(40, torch.bfloat16).cuda()
    stream, delta = (one.cuda() for one in random_summands(40, torch.bfloat16))
    with torch.inference_mode():
        expected = norm(stream + delta)
        assert torch.equal(AddNorm(norm)(stream, delta), expected)
