"""Writes adapters in the names and with the headers that trainers give them, and reads them."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM

from leyden_server.accelerator.adapters import Adapters
from leyden_server.checkpoint.clip_layout import clip_layout
from leyden_server.checkpoint.layout import Layout
from leyden_server.checkpoint.lora_file import LoraFile
from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.checkpoint.unet_layout import unet_layout

Weights = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]

KOHYA = (".lora_down.weight", ".lora_up.weight")
PEFT = (".lora_A.weight", ".lora_B.weight")

TO_Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
TO_K = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
CONV1 = "down_blocks.0.resnets.0.conv1"
STEM = "lora_unet_" + TO_Q.replace(".", "_")
"""What kohya's trainer calls TO_Q."""

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}


def write_base(folder: Path) -> Path:
    """Write a model with two blocks of attention, so that sgm's names have all their forms."""
    return write_random_sdxl(
        folder,
        tokenizer_from=TOKENIZER_FROM,
        seed=4,
        block_out_channels=(32, 64, 64),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
    )


def layouts_of(folder: Path) -> dict[str, Layout]:
    """Return the layouts of the parts of a diffusers folder that LoRAs change."""
    configs = {part: json.loads((folder / part / "config.json").read_text()) for part in WEIGHTS}
    return {
        "unet": unet_layout(configs["unet"]),
        "text_encoder": clip_layout(configs["text_encoder"], projection=False),
        "text_encoder_2": clip_layout(configs["text_encoder_2"], projection=True),
    }


def weights_of(folder: Path, part: str) -> Weights:
    """Return a part's weights by the names that its layout has."""
    layout = layouts_of(folder)[part]
    weights = safetensors.torch.load_file(folder / part / WEIGHTS[part])
    # transformers 5 writes its first encoder without the outer module.
    return {name if name in layout else f"text_model.{name}": weights[name] for name in weights}


def multiplied(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Return the modules whose weight a LoRA can have a product for, and its shape."""
    return {
        name.removesuffix(".weight"): parameter.shape
        for name, parameter in layout.items()
        if name.endswith(".weight") and len(parameter.shape) > 1 and ".embeddings." not in name
    }


def matrices(
    shape: tuple[int, ...], rank: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a down and an up matrix for a weight, as trainers shape them."""
    out, into, *kernel = shape
    down = torch.randn(rank, into, *kernel, generator=generator) * 0.1
    up = torch.randn(out, rank, *[1 for _ in kernel], generator=generator) * 0.1
    return down, up


def pairs(
    shapes: Shapes, stems: Iterable[str], *, ends: tuple[str, str], rank: int = 3, seed: int = 0
) -> Weights:
    """Return down and up matrices for modules, under names made of stems and ends."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for shape, stem in zip(shapes.values(), stems, strict=True):
        for end, matrix in zip(ends, matrices(shape, rank, generator), strict=True):
            weights[stem + end] = matrix
    return weights


def underscored(prefix: str) -> Callable[[str], str]:
    """Return what makes a module's name one of kohya's trainer's."""
    return lambda module: prefix + module.replace(".", "_")


def some_pairs(layouts: Mapping[str, Layout], *, rank: int = 4) -> Weights:
    """Return pairs for TO_Q, TO_K and CONV1 in kohya's names."""
    shapes = {module: multiplied(layouts["unet"])[module] for module in (TO_Q, TO_K, CONV1)}
    return pairs(shapes, map(underscored("lora_unet_"), shapes), ends=KOHYA, rank=rank)


def write(
    path: Path, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str] = {}
) -> Path:
    """Write a file; returns its path."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    safetensors.torch.save_file(contiguous, path, dict(metadata) or None)
    return path


def read(path: Path, layouts: Mapping[str, Layout]) -> LoraFile:
    """Read a file's header and find the place of its tensors."""
    return LoraFile.read(SafetensorsFile.read(path), layouts)


def changed(weights: Weights, *loras: tuple[LoraFile, float], part: str = "unet") -> Weights:
    """Return all weights of a part, with what LoRAs make of them."""
    adapters = Adapters(part, loras)
    assert adapters.names <= weights.keys()
    return {
        name: adapters.change(name, tensor.clone()) if name in adapters.names else tensor
        for name, tensor in weights.items()
    }


def assert_equal_changes(
    before: Mapping[str, torch.Tensor],
    ours: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
    *,
    rtol: float = 1e-5,
) -> int:
    """Assert that two changes of weights are one; returns how many weights changed.

    A difference is measured against the change, not against the weight, which is larger.
    """
    assert ours.keys() == theirs.keys() == before.keys()
    count = 0
    for name, weight in before.items():
        change = (theirs[name] - weight).norm()
        difference = (ours[name] - theirs[name]).norm()
        assert difference <= rtol * change, f"{name}: {difference / change:.1e} of the change"
        count += bool(change > 0)
    return count
