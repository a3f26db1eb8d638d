"""The UNet's transformers with fewer products and passes, against diffusers' own."""

from typing import Any
from unittest import mock

import pytest
import torch
from diffusers import Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from support.triton_interpreter import Interpreter

from leyden_server.accelerator.layer_norm import KERNELS
from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.denoiser import transformer
from leyden_server.denoiser.summing_products import _is_faster, products_should_sum
from leyden_server.denoiser.transformer import Transformer, replace_transformers

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

FLOAT32_TOLERANCE = 5e-6
"""Of numbers of about 1: float32 keeps 7 digits, and a joined product sums in another order."""
HALF = [torch.float16, torch.bfloat16]


def random_unet(*, linear: bool = True, blocks: int = 2, **config: Any) -> UNet2DConditionModel:
    """Return one whose attention counts: torch's own initialization hardly has any."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=blocks,
        attention_head_dim=4,
        cross_attention_dim=48,
        norm_num_groups=8,
        use_linear_projection=linear,
        **config,
    ).eval()
    for name, parameter in unet.named_parameters():
        if ".attn" in name and name.endswith("weight"):
            parameter.data *= 3
    return unet.requires_grad_(False)


def inputs(rows: int, side: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return sample, timestep and prompt_embeds."""
    torch.manual_seed(rows)
    return torch.randn(rows, 4, side, side), torch.rand(rows) * 999, torch.randn(rows, 77, 48)


def transformers_of(unet: torch.nn.Module) -> list[Transformer]:
    return [module for module in unet.modules() if isinstance(module, Transformer)]


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("by_products", [True, False])
@torch.inference_mode()
def test_in_float32_a_unet_gives_what_diffusers_gives(
    linear: bool, channels_last: bool, by_products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "products_should_sum", lambda _: by_products)
    unet = random_unet(linear=linear)
    sample, timestep, prompt_embeds = inputs(3)
    if channels_last:
        unet = unet.to(memory_format=torch.channels_last)
        sample = sample.contiguous(memory_format=torch.channels_last)
    expected = unet(sample, timestep, prompt_embeds).sample

    keys_values = replace_transformers(unet)
    found = unet(sample, timestep, keys_values(prompt_embeds)).sample

    assert len(transformers_of(unet)) == 4
    assert not any(isinstance(module, Transformer2DModel) for module in unet.modules())
    torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT32_TOLERANCE)
    # Without what the prompt says it is another picture: the comparison is of something.
    other = unet(sample, timestep, keys_values(prompt_embeds.flip(0))).sample
    assert (other - expected).abs().max() > 0.01


@torch.inference_mode()
def test_a_prompts_keys_and_values_are_those_of_every_block_side_by_side() -> None:
    unet = random_unet()
    prompt_embeds = inputs(2)[2]
    expected = [
        product(prompt_embeds)
        for theirs in unet.modules()
        if isinstance(theirs, Transformer2DModel)
        for block in theirs.transformer_blocks
        for product in (block.attn2.to_k, block.attn2.to_v)
    ]
    keys_values = replace_transformers(unet)
    found = keys_values(prompt_embeds)
    torch.testing.assert_close(found, torch.cat(expected, -1), rtol=0, atol=FLOAT32_TOLERANCE)
    # Of a prompt alone they are what they are in company.
    alone = torch.cat([keys_values(row[None]) for row in prompt_embeds])
    torch.testing.assert_close(found, alone, rtol=0, atol=FLOAT32_TOLERANCE)


@torch.inference_mode()
def test_an_image_leaves_a_transformer_as_its_convolutions_want_it() -> None:
    unet = random_unet()
    (theirs,) = unet.mid_block.attentions
    image = torch.randn(2, 64, 6, 4).contiguous(memory_format=torch.channels_last)
    prompt_embeds = inputs(2)[2]
    (expected,) = theirs(image, prompt_embeds, return_dict=False)
    keys_values = replace_transformers(unet)(prompt_embeds)
    (found,) = unet.mid_block.attentions[0](image, encoder_hidden_states=keys_values)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT32_TOLERANCE)


@torch.inference_mode()
def test_what_comes_into_a_transformer_stays_as_it_is() -> None:
    """A skip connection may hold it, and a graph replays with it."""
    unet = random_unet()
    image, prompt_embeds = torch.randn(1, 64, 4, 4), inputs(1)[2]
    keys_values = replace_transformers(unet)(prompt_embeds)
    before = image.clone(), keys_values.clone()
    unet.mid_block.attentions[0](image, encoder_hidden_states=keys_values)
    assert torch.equal(image, before[0])
    assert torch.equal(keys_values, before[1])


@pytest.mark.parametrize("where", ["processor", "norm", "adapter"])
@torch.inference_mode()
def test_a_unet_with_anything_unknown_stays_diffusers(where: str) -> None:
    unet = random_unet()
    block = unet.mid_block.attentions[0].transformer_blocks[1]
    match where:
        case "processor":
            block.attn1.set_processor(AttnProcessor())
        case "norm":
            block.norm2 = torch.nn.LayerNorm(64, elementwise_affine=False)
        case "adapter":
            block.attn2.to_k = torch.nn.Sequential(block.attn2.to_k)
    sample, timestep, prompt_embeds = inputs(2)
    expected = unet(sample, timestep, prompt_embeds).sample
    keys_values = replace_transformers(unet)
    assert not transformers_of(unet)
    assert torch.equal(unet(sample, timestep, keys_values(prompt_embeds)).sample, expected)


@torch.inference_mode()
def test_a_unet_without_transformers_takes_the_embeddings_as_they_are() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
    )
    prompt_embeds = inputs(1)[2]
    assert torch.equal(replace_transformers(unet)(prompt_embeds), prompt_embeds)


@pytest.mark.parametrize("by_products", [True, False])
@pytest.mark.parametrize("dtype", HALF)
def test_interpreted_the_kernels_are_as_near_to_float32_as_diffusers(
    interpreter: Interpreter, dtype: torch.dtype, by_products: bool
) -> None:
    interpreter(check_kernels, dtype, "cpu", by_products)


@on_a_gpu
@pytest.mark.parametrize("by_products", [True, False])
@pytest.mark.parametrize("dtype", HALF)
def test_by_triton_the_kernels_are_as_near_to_float32_as_diffusers(
    dtype: torch.dtype, by_products: bool
) -> None:
    check_kernels(dtype, "cuda", by_products)


def check_kernels(dtype: torch.dtype, device: str, by_products: bool) -> None:
    with mock.patch.object(transformer, "products_should_sum", return_value=by_products):
        check_unet(dtype, device)


@torch.inference_mode()
def check_unet(dtype: torch.dtype, device: str) -> None:
    unet = random_unet(blocks=1).to(device)
    unet = unet.to(memory_format=torch.channels_last)
    sample, timestep, prompt_embeds = (one.to(device) for one in inputs(2))
    unet.to(dtype)
    sample, prompt_embeds = sample.to(dtype), prompt_embeds.to(dtype)
    theirs = unet(sample, timestep, prompt_embeds).sample
    keys_values = replace_transformers(unet)
    assert triton_kernels(KERNELS, sample.device, dtype) is not None
    states = keys_values(prompt_embeds)
    ours = unet(sample, timestep, states).sample

    unet.float()  # the same weights, and float32 takes no kernels
    exact = unet(sample.float(), timestep, states.float()).sample
    error, their_error = (float((one.float() - exact).norm()) for one in (ours, theirs))
    assert 0 < error < 1.25 * their_error, (error, their_error)


@torch.inference_mode()
def test_a_block_with_a_replaced_layer_leaves_its_sums_to_its_norms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transformer, "products_should_sum", lambda _: True)
    unet = random_unet()
    sample, timestep, prompt_embeds = inputs(2)
    keys_values = replace_transformers(unet)
    expected = unet(sample, timestep, keys_values(prompt_embeds)).sample
    for ours in transformers_of(unet):
        block = ours.transformer_blocks[-1]
        block.set_submodule("out2", torch.nn.Sequential(block.get_submodule("out2")))
        assert not block.can_add
    found = unet(sample, timestep, keys_values(prompt_embeds)).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT32_TOLERANCE)


def test_on_a_cpu_sums_are_the_norms() -> None:
    assert not products_should_sum(torch.zeros(1, 4, 8, dtype=torch.bfloat16))


@on_a_gpu
def test_on_a_gpu_both_ways_of_a_sum_are_timed() -> None:
    assert _is_faster(torch.device("cuda"), torch.bfloat16, 1024, 640) in {True, False}


@on_a_gpu
@pytest.mark.parametrize("dtype", HALF)
@torch.inference_mode()
def test_on_a_gpu_rows_of_a_prompt_are_the_same_in_any_batch(dtype: torch.dtype) -> None:
    """An image's keys and values are made of its own rows, whoever else is in the batch."""
    unet = random_unet().to("cuda", dtype)
    keys_values = replace_transformers(unet)
    prompt_embeds = inputs(4)[2].to("cuda", dtype)
    states = torch.cat([keys_values(row[None]) for row in prompt_embeds])
    torch.testing.assert_close(states, keys_values(prompt_embeds), rtol=0.02, atol=0.02)
