"""GEGLU as a GPU runs it, against diffusers' own."""

from typing import Any

import pytest
import torch
from diffusers.models import activations
from support.triton_interpreter import Interpreter

from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.denoiser.geglu import GEGLU, KERNELS, replace_geglus

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def random_unit(dtype: torch.dtype, width: int = 40) -> tuple[Any, torch.Tensor]:
    """Return diffusers' unit and what it is given, (2, 7, 24)."""
    torch.manual_seed(0)
    return activations.GEGLU(24, width).to(dtype), torch.randn(2, 7, 24).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_replaced_unit_gives_what_diffusers_gives(dtype: torch.dtype) -> None:
    unit, x = random_unit(dtype)
    module = torch.nn.Sequential(unit)
    names = list(module.state_dict())
    with torch.inference_mode():
        expected = module(x)
        replace_geglus(module)
        assert torch.equal(module(x), expected)
    assert isinstance(module[0], GEGLU)
    assert list(module.state_dict()) == names


@pytest.mark.parametrize("width", [40, 1025])
def test_interpreted_the_kernel_is_nearer_to_float64_than_diffusers(
    interpreter: Interpreter, width: int
) -> None:
    # Of bfloat16 the interpreter cuts digits off where a GPU rounds.
    interpreter(check_kernel, torch.float16, width, "cpu")


@on_a_gpu
@pytest.mark.parametrize("width", [40, 1025, 2560])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_by_triton_it_is_nearer_to_float64_than_diffusers(dtype: torch.dtype, width: int) -> None:
    check_kernel(dtype, width, "cuda")


def check_kernel(dtype: torch.dtype, width: int, device: str) -> None:
    unit, x = random_unit(dtype, width)
    unit, x = unit.to(device), (4 * x).to(device)
    with torch.inference_mode():
        found, theirs = GEGLU(unit.proj)(x), unit(x)
        value, gate = unit.proj(x).double().chunk(2, dim=-1)
        expected = value * torch.nn.functional.gelu(gate)
    assert triton_kernels(KERNELS, x.device, dtype) is not None
    assert found.dtype == dtype
    error, their_error = (float((one.double() - expected).abs().mean()) for one in (found, theirs))
    assert error <= their_error


@on_a_gpu
def test_without_triton_torch_operators_stand_in(no_triton: None) -> None:
    unit, x = random_unit(torch.bfloat16)
    unit, x = unit.cuda(), x.cuda()
    with torch.inference_mode():
        assert torch.equal(GEGLU(unit.proj)(x), unit(x))
