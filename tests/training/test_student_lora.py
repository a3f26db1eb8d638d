"""A student's LoRA, laid over the base by diffusers, is the student."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn

from leyden_training.distillation.lora import write_lora

pytestmark = pytest.mark.usefixtures("alone")

Weights = dict[str, Tensor]


def weights_of(unet: UNet2DConditionModel) -> Weights:
    """Of the layers that a LoRA can change."""
    return {
        path: module.weight.detach().float().flatten(1)
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


@pytest.fixture(scope="module")
def student(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with every linear and convolution moved by a tenth of its size."""
    folder = tmp_path_factory.mktemp("student")
    unet = UNet2DConditionModel.from_pretrained(tiny_folder / "base" / "unet", dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in unet.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                noise = torch.randn(module.weight.shape, generator=generator)
                module.weight += 0.1 * module.weight.std() * noise
    unet.save_pretrained(folder)
    return folder


def fused(tiny_folder: Path, lora: Path) -> UNet2DConditionModel:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        tiny_folder / "base", dtype=torch.float32, add_watermarker=False
    )
    pipeline.load_lora_weights(lora.parent, weight_name=lora.name)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return pipeline.unet


def moves(tiny_folder: Path, unet: UNet2DConditionModel) -> Weights:
    base = weights_of(
        UNet2DConditionModel.from_pretrained(tiny_folder / "base" / "unet", dtype=torch.float32)
    )
    return {path: weight - base[path] for path, weight in weights_of(unet).items()}


def test_at_full_rank_it_is_the_student(tiny_folder: Path, student: Path, tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    write_lora(tiny_folder / "base" / "unet", student, lora, rank=10_000)
    found = moves(tiny_folder, fused(tiny_folder, lora))
    wanted = moves(tiny_folder, UNet2DConditionModel.from_pretrained(student))
    assert found.keys() == wanted.keys()
    for path, move in wanted.items():
        assert (found[path] - move).norm() < 2e-3 * move.norm(), path  # float16 in the file


def test_at_a_low_rank_it_is_as_near_as_a_truncated_svd(
    tiny_folder: Path, student: Path, tmp_path: Path
) -> None:
    rank, lora = 4, tmp_path / "lora.safetensors"
    write_lora(tiny_folder / "base" / "unet", student, lora, rank=rank)
    found = moves(tiny_folder, fused(tiny_folder, lora))
    for path, move in moves(tiny_folder, UNet2DConditionModel.from_pretrained(student)).items():
        lost = torch.linalg.svdvals(move)[rank:].norm()
        left = (found[path] - move).norm()
        assert left == pytest.approx(lost.item(), rel=0.02, abs=2e-3 * move.norm().item()), path


def test_names_are_the_published_ones(tiny_folder: Path, student: Path, tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    write_lora(tiny_folder / "base" / "unet", student, lora, rank=2)
    tensors = load_file(lora)
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    assert tensors[f"{name}.lora_down.weight"].shape == (2, 16)
    assert tensors[f"{name}.lora_up.weight"].shape == (16, 2)
    assert {tensors[key].item() for key in tensors if key.endswith(".alpha")} <= {1.0, 2.0}
