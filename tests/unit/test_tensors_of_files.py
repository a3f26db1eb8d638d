"""Every tensor of every part is needed, known and a number, and its file is where it should be."""

import shutil
from pathlib import Path

import pytest
import safetensors.torch as st
import torch
from diffusers import StableDiffusionXLPipeline
from support.checkpoint_files import Weights, rewrite
from support.model_folders import entry, resolve
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM

from leyden_server.denoiser.unet_weights import load_unet
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ResolvedModel
from leyden_server.text_encoder.encoder import PromptEncoder
from leyden_server.vae.decoder import VaeDecoder

UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_sdxl(
        tmp_path_factory.mktemp("files") / "base", tokenizer_from=TOKENIZER_FROM, seed=13
    )


def load(model: ResolvedModel) -> None:
    load_unet(model, torch.float32)
    PromptEncoder(model, dtype=torch.float32, device=torch.device("cpu"), replica="")
    VaeDecoder(model, dtype=torch.float32, device=torch.device("cpu"))


PARTS = {
    "unet": UNET_FILE,
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
    "text_encoder_2": "text_encoder_2/model.safetensors",
}


@pytest.mark.parametrize("part", PARTS)
def test_every_tensor_is_needed(base: Path, tmp_path: Path, part: str) -> None:
    """diffusers and transformers put random numbers where one lacks."""
    name = sorted(st.load_file(base / PARTS[part]))[-1]
    file = rewrite(base, tmp_path / "model", PARTS[part], lambda w: w.pop(name))
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(tmp_path / "model")
    assert f"{file}: does not fit the {part} of its config: lacks {name}" in str(caught.value)


@pytest.mark.parametrize("part", PARTS)
def test_no_tensor_is_passed_over(base: Path, tmp_path: Path, part: str) -> None:
    more = {"surprise.weight": torch.zeros(2)}
    file = rewrite(base, tmp_path / "model", PARTS[part], lambda w: w.update(more))
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(tmp_path / "model")
    assert f"{file}: surprise.weight: an SDXL {part} has no such tensor" in str(caught.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("part", PARTS)
def test_a_number_that_is_none_is_named(base: Path, tmp_path: Path, part: str, number: str) -> None:
    name = sorted(st.load_file(base / PARTS[part]))[-1]

    def spoil(weights: Weights) -> None:
        weights[name].view(-1)[-1] = float(number)

    file = rewrite(base, tmp_path / "model", PARTS[part], spoil)
    model = resolve(tmp_path / "model")
    with pytest.raises(ModelRepositoryError, match=r"holds NaN or infinity") as caught:
        load(model)
    assert f"{file}: {name}: " in str(caught.value)


def test_what_float16_cannot_hold_is_named(base: Path, tmp_path: Path) -> None:
    def enlarge(weights: Weights) -> None:
        weights["conv_out.weight"].view(-1)[0] = 70_000.0

    rewrite(base, tmp_path / "model", UNET_FILE, enlarge)
    model = resolve(tmp_path / "model")
    assert load_unet(model, torch.bfloat16).unet.conv_out.weight.isfinite().all()
    with pytest.raises(ModelRepositoryError, match=r"conv_out\.weight: .* float16 cannot hold"):
        load_unet(model, torch.float16)


def test_a_shard_that_lacks_is_named(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "model"))
    pipeline = StableDiffusionXLPipeline.from_pretrained(base, use_safetensors=True)
    (folder / UNET_FILE).unlink()
    pipeline.unet.save_pretrained(folder / "unet", max_shard_size=1_000_000)
    shards = sorted((folder / "unet").glob("*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(folder)
    assert shards[1].name in str(caught.value)


def test_a_link_out_of_the_repository_is_refused(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "repository" / "model"))
    elsewhere = tmp_path / "elsewhere.safetensors"
    (folder / UNET_FILE).rename(elsewhere)
    (folder / UNET_FILE).symlink_to(elsewhere)
    with pytest.raises(ModelRepositoryError, match="a link out of the model repository") as caught:
        resolve(folder)
    assert str(folder / UNET_FILE) in str(caught.value)

    # Within the repository it may lead anywhere, and model.yaml may name what is outside.
    elsewhere.rename(tmp_path / "repository" / "elsewhere.safetensors")
    (folder / UNET_FILE).unlink()
    (folder / UNET_FILE).symlink_to(tmp_path / "repository" / "elsewhere.safetensors")
    resolve(folder)
    (tmp_path / "repository" / "elsewhere.safetensors").rename(elsewhere)
    resolve(entry(folder, f"unet: {elsewhere}\n"))


def test_a_snapshot_of_the_hubs_cache_is_a_base_like_any(base: Path, tmp_path: Path) -> None:
    """Its files are links into the blobs beside it."""
    cache = tmp_path / "models--someone--sdxl"
    snapshot = cache / "snapshots" / ("0" * 40)
    shutil.copytree(base, snapshot)
    (cache / "blobs").mkdir()
    (snapshot / UNET_FILE).rename(cache / "blobs" / "abc")
    (snapshot / UNET_FILE).symlink_to("../../../blobs/abc")
    resolve(snapshot)
    resolve(entry(tmp_path / "model", f"base: {snapshot}\n"))
    resolve(entry(tmp_path / "model", f"base: {snapshot}\nunet: {snapshot / UNET_FILE}\n"))
