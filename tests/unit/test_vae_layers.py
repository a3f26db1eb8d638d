"""The VAE's own layers for a GPU, by torch's operators on a CPU, against diffusers'."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from torch.utils._python_dispatch import TorchDispatchMode

from leyden_server.accelerator.device import channels_last
from leyden_server.accelerator.resnet_block import ResnetBlock
from leyden_server.accelerator.upsample import Upsample
from leyden_server.model_repository import ResolvedModel
from leyden_server.vae import mid_attention
from leyden_server.vae.decoder import VaeDecoder
from leyden_server.vae.last_convolution import LastConvolution
from leyden_server.vae.mid_attention import MidAttention, queries_at_once, replace_mid_attention

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CHANNELS = 48


def random_attention(**changed: Any) -> Attention:
    """Return diffusers' attention as a VAE's decoder has it."""
    torch.manual_seed(0)
    arguments = {
        "heads": 1,
        "dim_head": CHANNELS,
        "norm_num_groups": 8,
        "residual_connection": True,
        "bias": True,
        "upcast_softmax": True,
        "_from_deprecated_attn_block": True,
    }
    attention = Attention(CHANNELS, **{**arguments, **changed}).eval()
    for parameter in attention.parameters():
        # Scores that differ: a softmax of like ones would be a mean.
        torch.nn.init.normal_(parameter, std=0.3)
    return attention.requires_grad_(requires_grad=False)


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Counts the bytes of the largest tensor that any operator gives back."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.size_bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.size_bytes = max(self.size_bytes, result.numel() * result.element_size())
        return result


@pytest.mark.parametrize("budget_bytes", [1, 7 * 99 * 4, 1 << 20])
def test_attention_by_products_in_chunks_is_diffusers(
    budget_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mid_attention, "SCORES_BYTES", budget_bytes)
    attention = random_attention()
    images = torch.randn(2, CHANNELS, 11, 9).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = attention(images)
        ours = MidAttention(attention)
        assert torch.equal(ours(images), expected)
        found, alone = ours.by_products(images), ours.by_products(images[:1])
    # Numbers of about 4.
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(found[:1], alone, atol=2e-5, rtol=0)


def test_scores_take_no_more_than_their_piece_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert queries_at_once(keys=128 * 128, element_bytes=2) == 4096
    for side in (64, 128, 140, 512):
        held = queries_at_once(side * side, 2) * side * side * 2
        assert held <= mid_attention.SCORES_BYTES
    query = torch.randn(1000, 8)
    monkeypatch.setattr(mid_attention, "SCORES_BYTES", 1000 * 4 * 30)
    with torch.inference_mode(), LargestTensor() as largest:
        mid_attention.attend(query, query, query, torch.empty_like(query))
    # All of the scores, 4 MB, are never there; the largest are those of 30 queries.
    assert largest.size_bytes == 1000 * 4 * 30


@pytest.mark.parametrize(
    "changed",
    [
        {"heads": 2, "dim_head": CHANNELS // 2},
        {"norm_num_groups": None},
        {"residual_connection": False},
        {"rescale_output_factor": 2.0},
        {"bias": False},
        {"qk_norm": "layer_norm"},
    ],
)
def test_attention_of_another_kind_stays_diffusers(changed: dict[str, Any]) -> None:
    decoder: Any = torch.nn.Module()
    decoder.mid_block = torch.nn.Sequential(random_attention(**changed))
    replace_mid_attention(decoder)
    assert type(decoder.mid_block[0]) is Attention


@pytest.mark.parametrize("channels", [3, 8, 9])
def test_a_padded_convolution_is_the_convolution(channels: int) -> None:
    torch.manual_seed(0)
    convolution = channels_last(torch.nn.Conv2d(16, channels, 3, padding=1))
    x = torch.randn(2, 16, 7, 5).contiguous(memory_format=torch.channels_last)
    ours = LastConvolution(convolution)
    with torch.inference_mode():
        expected = convolution(x)
        assert torch.equal(ours(x), expected)
        found = ours.padded(x)
    assert ours.padded_weight.shape[0] == (16 if channels == 9 else 8)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_decoder_has_all_of_them(random_model: ResolvedModel) -> None:
    decoder = VaeDecoder(random_model, dtype=torch.float32, device=torch.device("cpu"))
    kinds = [type(module) for module in decoder._vae.decoder.modules()]
    config = decoder._vae.config
    blocks = len(config.block_out_channels)
    assert kinds.count(ResnetBlock) == 2 + blocks * (config.layers_per_block + 1)
    assert kinds.count(Upsample) == blocks - 1
    assert kinds.count(MidAttention) == kinds.count(LastConvolution) == 1


def test_by_products_and_padded_a_decoder_gives_what_diffusers_gives(
    random_model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forms for a GPU in the place of those for a CPU, on the whole decoder in float32."""
    monkeypatch.setattr(MidAttention, "forward", lambda self, x, temb: self.by_products(x))
    monkeypatch.setattr(LastConvolution, "forward", LastConvolution.padded)
    decoder = VaeDecoder(random_model, dtype=torch.float32, device=torch.device("cpu"))
    vae: Any = AutoencoderKL.from_pretrained(
        random_model.base_folder / "vae", dtype=torch.float32, use_safetensors=True
    )
    latents = torch.randn(2, 4, 9, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = channels_last(vae).decode(latents).sample
        found = decoder._vae.decode(latents).sample
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@on_a_gpu
def test_a_gpus_attention_is_as_near_to_float32_as_torchs() -> None:
    attention = random_attention().cuda()
    images = torch.randn(2, CHANNELS, 40, 24, device="cuda")
    with torch.inference_mode():
        expected = attention(images)
        images, attention = images.bfloat16(), attention.bfloat16()
        theirs = attention(images)
        found = MidAttention(attention)(images)
    error, their_error = (float((one.float() - expected).std()) for one in (found, theirs))
    assert error <= 1.2 * their_error
