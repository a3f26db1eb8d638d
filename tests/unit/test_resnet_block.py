"""The ResNet block with fewer passes, by torch's operators and by Triton, against diffusers'."""

from typing import Any

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from support.triton_interpreter import Interpreter

from leyden_server.accelerator import group_norm
from leyden_server.accelerator.resnet_block import KERNELS, ResnetBlock, replace_resnet_blocks
from leyden_server.accelerator.triton_kernels import triton_kernels

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

EMBEDDING = 12
WIDTHS = [(32, 32), (32, 48), (72, 40)]
"""Channels in and out; where they differ there is a shortcut."""


def random_block(into: int, out: int, temb_channels: int | None, **changed: Any) -> ResnetBlock2D:
    """Return diffusers' block, its norms and biases as far from 1 and 0 as its weights."""
    torch.manual_seed(0)
    # What a VAE's decoder says of blocks that know no time.
    kind = "group" if temb_channels is None else "default"
    arguments = {"groups": 8, "time_embedding_norm": kind, **changed}
    block = ResnetBlock2D(
        in_channels=into, out_channels=out, temb_channels=temb_channels, **arguments
    ).eval()
    for name, parameter in block.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return block.requires_grad_(requires_grad=False)


def random_inputs(into: int, temb_channels: int | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return two images (2, into, 9, 6) and their times' embeddings."""
    torch.manual_seed(1)
    x = torch.randn(2, into, 9, 6) + 0.5
    return x, None if temb_channels is None else torch.randn(2, temb_channels)


@pytest.mark.parametrize(("into", "out"), WIDTHS)
@pytest.mark.parametrize("temb_channels", [None, EMBEDDING])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_on_a_cpu_it_gives_what_diffusers_gives(
    into: int, out: int, temb_channels: int | None, layout: torch.memory_format
) -> None:
    block = random_block(into, out, temb_channels)
    x, temb = random_inputs(into, temb_channels)
    x = x.contiguous(memory_format=layout)
    module: Any = torch.nn.Sequential(block)
    names = list(module.state_dict())
    with torch.inference_mode():
        expected, kept = block(x, temb), x.clone()
        replace_resnet_blocks(module)
        found = module[0](x, temb)
    assert isinstance(module[0], ResnetBlock)
    assert list(module.state_dict()) == names
    # Numbers of about 3.
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)
    assert torch.equal(x, kept)


@pytest.mark.parametrize(
    "changed",
    [
        {"time_embedding_norm": "scale_shift"},
        {"up": True},
        {"down": True},
        {"output_scale_factor": 2.0},
        {"non_linearity": "gelu"},
        {"skip_time_act": True},
        {"conv_shortcut_bias": False},
    ],
)
def test_a_block_of_another_kind_stays_diffusers(changed: dict[str, Any]) -> None:
    module: Any = torch.nn.Sequential(random_block(32, 48, EMBEDDING, **changed))
    replace_resnet_blocks(module)
    assert type(module[0]) is ResnetBlock2D


def test_a_block_with_an_adapted_convolution_stays_diffusers() -> None:
    class Adapted(torch.nn.Conv2d):
        pass

    block = random_block(32, 32, EMBEDDING)
    block.conv2 = Adapted(32, 32, 3, padding=1)
    module: Any = torch.nn.Sequential(block)
    replace_resnet_blocks(module)
    assert type(module[0]) is ResnetBlock2D


@pytest.mark.parametrize(("into", "out"), WIDTHS)
@pytest.mark.parametrize("temb_channels", [None, EMBEDDING])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_interpreted_it_is_as_near_to_float64_as_diffusers(
    interpreter: Interpreter, into: int, out: int, temb_channels: int | None, dtype: torch.dtype
) -> None:
    interpreter(check_by_kernels, into, out, temb_channels, dtype, "cpu")


@on_a_gpu
@pytest.mark.parametrize(("into", "out"), [*WIDTHS, (640, 320), (320, 320)])
@pytest.mark.parametrize("temb_channels", [None, EMBEDDING])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_by_triton_it_is_as_near_to_float64_as_diffusers(
    into: int, out: int, temb_channels: int | None, dtype: torch.dtype
) -> None:
    check_by_kernels(into, out, temb_channels, dtype, "cuda")


def check_by_kernels(
    into: int, out: int, temb_channels: int | None, dtype: torch.dtype, device: str
) -> None:
    block = random_block(into, out, temb_channels).to(device, dtype)
    block.to(memory_format=torch.channels_last)
    x, temb = random_inputs(into, temb_channels)
    x = x.to(device, dtype).contiguous(memory_format=torch.channels_last)
    temb = None if temb is None else temb.to(device, dtype)
    exact = random_block(into, out, temb_channels).to(device, torch.float64)
    exact.load_state_dict(block.state_dict())
    ours = ResnetBlock(block)
    with torch.inference_mode():
        theirs = block(x, temb)
        found = ours(x, temb)
        expected = exact(x.double(), None if temb is None else temb.double())
        alone = ours(x[:1], None if temb is None else temb[:1])
    for module in (KERNELS, group_norm.KERNELS):
        assert triton_kernels(module, x.device, dtype) is not None
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    error, their_error = (float((one.double() - expected).std()) for one in (found, theirs))
    # The interpreter cuts digits off bfloat16 where a GPU rounds.
    allowed = 2 if device == "cpu" and dtype == torch.bfloat16 else 1.02
    assert error <= allowed * their_error, (error, their_error)
    torch.testing.assert_close(found[:1], alone, atol=0, rtol=0)
