"""A linear layer and GEGLU's gate in one kernel, against both by torch."""

import pytest
import torch
from support.triton_interpreter import Interpreter

from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.denoiser.gated_product import KERNELS, _is_faster, gated_product
from leyden_server.denoiser.geglu import Gate

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
on_hopper = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] not in (9, 10),
    reason="needs a Hopper or Blackwell GPU",
)

SHAPES = [
    (5, 40, 24),  # less than a tile of anything
    (150, 136, 264),  # more than one of everything, none of them full
    (128, 64, 128),
]
"""Tokens, their width, columns of the result."""


def random_layer(
    dtype: torch.dtype, tokens: int, width: int, columns: int, device: str = "cpu"
) -> tuple[torch.nn.Linear, torch.Tensor]:
    """Return a layer and what it is given, (2, tokens, width)."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(width, 2 * columns).to(device, dtype)
    return layer, (3 * torch.randn(2, tokens, width)).to(device, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_on_a_cpu_it_is_the_layer_and_the_gate(dtype: torch.dtype) -> None:
    layer, x = random_layer(dtype, 5, 40, 24)
    assert torch.equal(gated_product(x, layer, Gate()), Gate()(layer(x)))


@pytest.mark.parametrize("shape", SHAPES)
def test_interpreted_the_kernel_is_nearer_to_float64_than_both(
    interpreter: Interpreter, shape: tuple[int, int, int]
) -> None:
    # Of bfloat16 the interpreter makes no products.
    interpreter(check_kernel, torch.float16, *shape, "cpu")


@on_hopper
@pytest.mark.parametrize("shape", [*SHAPES, (1024, 1280, 5120), (4096, 640, 2560)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_by_triton_the_kernel_is_nearer_to_float64_than_both(
    dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    check_kernel(dtype, *shape, "cuda")


@torch.inference_mode()
def check_kernel(dtype: torch.dtype, tokens: int, width: int, columns: int, device: str) -> None:
    layer, x = random_layer(dtype, tokens, width, columns, device)
    kernels = triton_kernels(KERNELS, x.device, dtype)
    assert kernels is not None
    found = kernels.gated_product(x, layer.weight, layer.bias)
    alone = kernels.gated_product(x[1:, -1:], layer.weight, layer.bias)
    theirs = Gate()(layer(x))
    expected = Gate()(
        torch.nn.functional.linear(x.double(), *(p.double() for p in layer.parameters()))
    )
    assert found.dtype == dtype
    assert found.shape == (2, tokens, columns)
    error, their_error = (float((one.double() - expected).norm()) for one in (found, theirs))
    assert 0 < error <= their_error
    # What becomes of a token does not depend on the others.
    assert torch.equal(found[1:, -1:], alone)


@on_hopper
@torch.inference_mode()
def test_on_a_gpu_whichever_is_faster_it_gives_the_same() -> None:
    layer, x = random_layer(torch.bfloat16, 512, 640, 2560, "cuda")
    assert _is_faster(x.device, x.dtype, 1024, 640, 2560) in {True, False}
    found, expected = gated_product(x, layer, Gate()), Gate()(layer(x))
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


@on_a_gpu
@torch.inference_mode()
def test_without_triton_torch_operators_stand_in(no_triton: None) -> None:
    layer, x = random_layer(torch.bfloat16, 5, 40, 24, "cuda")
    assert torch.equal(gated_product(x, layer, Gate()), Gate()(layer(x)))
