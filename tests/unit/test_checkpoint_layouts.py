"""One model in each layout that checkpoints come in gives one model's pixels."""

import shutil
from pathlib import Path

import pytest
import torch
from support.checkpoint_files import write_sharded, write_single_file
from support.model_folders import entry, resolve
from support.pixels import assert_like_diffusers, request
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.stages import TOKENIZER_FROM

from leyden_server.errors import ModelRepositoryError


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose weights are float16, as published ones are."""
    folder = tmp_path_factory.mktemp("layouts") / "half"
    return write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM, seed=11, dtype=torch.float16)


async def test_an_all_in_one_file_gives_the_pixels_of_its_folder(tmp_path: Path) -> None:
    source = write_random_sdxl(
        tmp_path / "source",
        tokenizer_from=TOKENIZER_FROM,
        seed=13,
        block_out_channels=(32, 64, 64),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
    )
    file = write_single_file(tmp_path / "sdxl_lightning_4step.safetensors", source)
    # Of the base only what has no weights is there.
    configs = tmp_path / "configs"
    shutil.copytree(source, configs, ignore=shutil.ignore_patterns("*.safetensors"))
    model = resolve(entry(tmp_path / "whole", f"base: ../configs\nsingle_file: ../{file.name}\n"))

    assert model.unet_weight_files == (file,)
    requests = [request(1, 4, 0.0), request(2, 4, 2.0, negative_prompt="fog")]
    await assert_like_diffusers(model, requests, source)


async def test_a_unet_file_goes_before_that_of_an_all_in_one_file(
    half: Path, tmp_path: Path
) -> None:
    file = write_single_file(tmp_path / "all.safetensors", half)
    unet = write_random_unet_file(tmp_path / "unet.safetensors", model_dir=half, seed=4)
    text = f"base: {half}\nsingle_file: {file}\nunet: {unet}\n"
    await assert_like_diffusers(
        resolve(entry(tmp_path / "both", text)),
        [request(1, 4, 0.0)],
        half,
        unet_file=unet,
    )


@pytest.mark.parametrize("variant", [None, "fp16"])
async def test_weights_in_shards_give_the_pixels_of_whole_ones(
    half: Path, tmp_path: Path, variant: str | None
) -> None:
    write_sharded(tmp_path / "sharded", half, variant)
    choice = f"variant: {variant}\n" if variant else ""
    model = resolve(entry(tmp_path / "model", f"base: ../sharded\n{choice}"))

    assert len(model.unet_weight_files) > 1
    await assert_like_diffusers(model, [request(1, 4, 2.0)], half)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_an_all_in_one_file_of_another_shape_is_refused(
    half: Path, tmp_path: Path, part: str
) -> None:
    file = write_single_file(tmp_path / "all.safetensors", half)
    other = write_random_sdxl(
        tmp_path / "other",
        tokenizer_from=TOKENIZER_FROM,
        block_out_channels=(32, 96),
        text_encoder_width=40,
        text_encoder_2_width=56,
        vae_block_out_channels=(16, 32, 32, 32),
    )
    configs = tmp_path / "configs"
    shutil.copytree(half, configs)
    shutil.copy(other / part / "config.json", configs / part / "config.json")
    text = "base: ../configs\nsingle_file: ../all.safetensors\n"
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(entry(tmp_path / "whole", text))
    assert f"{file}: does not fit the {part} of its config" in str(caught.value)
    assert "in place of" in str(caught.value)
