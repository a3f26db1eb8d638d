"""Doubling and convolution as one product, by torch and by Triton, against diffusers' two steps."""

from typing import Any

import pytest
import torch
from diffusers.models.upsampling import Upsample2D
from support.triton_interpreter import Interpreter

from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.accelerator.upsample import KERNELS, Upsample, replace_upsamples

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

Shape = tuple[int, int, int, int]
SHAPES = [(2, 24, 7, 5), (1, 72, 1, 1), (2, 8, 1, 6)]


def random_upsample(channels: int, **changed: Any) -> Upsample2D:
    torch.manual_seed(0)
    upsample = Upsample2D(channels, **{"use_conv": True, "out_channels": 40, **changed})
    return upsample.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_on_a_cpu_it_gives_what_diffusers_gives(shape: Shape, layout: torch.memory_format) -> None:
    upsample = random_upsample(shape[1])
    module: Any = torch.nn.Sequential(upsample)
    names = list(module.state_dict())
    x = torch.randn(shape).contiguous(memory_format=layout)
    with torch.inference_mode():
        expected = upsample(x)
        replace_upsamples(module)
        found = module[0](x)
    assert isinstance(module[0], Upsample)
    assert list(module.state_dict()) == names
    assert found.is_contiguous(memory_format=torch.channels_last)
    # Numbers of about 1.
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("size", [(13, 9), (14, 10), (15, 11)])
def test_a_size_that_is_given_is_made_as_diffusers_makes_it(size: tuple[int, int]) -> None:
    upsample = random_upsample(24)
    x = torch.randn(2, 24, 7, 5)
    with torch.inference_mode():
        assert torch.equal(
            Upsample(upsample)(x, torch.Size(size)), upsample(x, output_size=torch.Size(size))
        )


@pytest.mark.parametrize(
    "changed",
    [
        {"use_conv": False, "out_channels": 24},
        {"use_conv": False, "use_conv_transpose": True},
        {"interpolate": False},
        {"norm_type": "ln_norm", "eps": 1e-6, "elementwise_affine": True},
        {"kernel_size": 5, "padding": 2},
        {"bias": False},
        {"name": "other"},
    ],
)
def test_another_kind_stays_diffusers(changed: dict[str, Any]) -> None:
    module: Any = torch.nn.Sequential(random_upsample(24, **changed))
    replace_upsamples(module)
    assert type(module[0]) is Upsample2D


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_interpreted_it_is_about_as_near_to_float64_as_diffusers(
    interpreter: Interpreter, shape: Shape, dtype: torch.dtype
) -> None:
    interpreter(check_by_kernels, shape, dtype, "cpu")


@on_a_gpu
@pytest.mark.parametrize("shape", [*SHAPES, (2, 640, 64, 64), (1, 256, 33, 20)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_by_triton_it_is_about_as_near_to_float64_as_diffusers(
    shape: Shape, dtype: torch.dtype
) -> None:
    check_by_kernels(shape, dtype, "cuda")


def check_by_kernels(shape: Shape, dtype: torch.dtype, device: str) -> None:
    upsample = random_upsample(shape[1]).to(device, dtype)
    upsample.to(memory_format=torch.channels_last)
    x = torch.randn(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    exact = random_upsample(shape[1]).to(device, torch.float64)
    exact.load_state_dict(upsample.state_dict())
    ours = Upsample(upsample)
    with torch.inference_mode():
        theirs, found, expected, alone = upsample(x), ours(x), exact(x.double()), ours(x[:1])
    assert triton_kernels(KERNELS, x.device, dtype) is not None
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    error, their_error = (float((one.double() - expected).std()) for one in (found, theirs))
    # Rounded three times in place of once: the weights' sums, the product, and that with its bias.
    # The interpreter cuts digits off bfloat16 where a GPU rounds.
    allowed = 3 if device == "cpu" and dtype == torch.bfloat16 else 2
    assert error <= allowed * their_error, (error, their_error)
    torch.testing.assert_close(found[:1], alone, atol=0, rtol=0)
