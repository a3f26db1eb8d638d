"""Adapters of every kind give the pixels of what their own library merges, alone and in a batch."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch as st
import torch
from diffusers import UNet2DConditionModel
from lycoris import create_lycoris
from support.adapter_files import weights_of
from support.checkpoint_files import write_random_lora
from support.model_folders import entry, resolve
from support.pixels import assert_like_diffusers, request
from support.random_sdxl import write_random_sdxl
from support.reference import max_difference, reference_images
from support.stages import TOKENIZER_FROM, reference_request

EIGHT = [
    request(number, 2 + number % 3, 2.0 if number % 2 else 0.0, negative_prompt="fog")
    for number in range(8)
]
SCALE = 0.6


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora-images") / "base"
    return write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM, seed=4)


Kind = Callable[[Path, Path], tuple[Path, dict[str, torch.Tensor]]]
"""Writes an adapter's file; returns it, and the UNet's weights with it at SCALE."""


def by_lycoris(algorithm: str, **arguments: Any) -> Kind:
    """alpha is the rank, where what LyCORIS merges is what it trains."""

    def write(folder: Path, base: Path) -> tuple[Path, dict[str, torch.Tensor]]:
        unet = UNet2DConditionModel.from_pretrained(base / "unet", use_safetensors=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            network = create_lycoris(
                unet, 1.0, linear_dim=4, linear_alpha=4, algo=algorithm, factor=4, **arguments
            )
            with torch.no_grad():
                for module in network.loras:
                    for name, parameter in module.named_parameters():
                        if name == "dora_scale":
                            parameter.mul_(1.3)
                        else:
                            parameter.copy_(torch.randn_like(parameter) * STRENGTH[algorithm])
                    network.add_module(module.lora_name, module)
        file = folder / "adapter.safetensors"
        network.save_weights(str(file), None, None)
        network.merge_to(SCALE)
        return file, unet.state_dict()

    return write


STRENGTH = {"locon": 0.15, "loha": 0.3, "lokr": 0.15}


def kohya_dora_of_inputs(folder: Path, base: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """By the formula, since LyCORIS writes magnitudes of outputs today and read both."""
    file = write_random_lora(folder / "adapter.safetensors", model_dir=base, seed=1, alpha=2.0)
    layers = st.load_file(file)
    weights = weights_of(base, "unet")
    for name, weight in list(weights.items()):
        stem = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
        if f"{stem}.lora_up.weight" not in layers:
            continue
        up, down = (layers[f"{stem}.lora_{kind}.weight"] for kind in ("up", "down"))
        turned = weight + layers[f"{stem}.alpha"] / len(down) * (
            up.flatten(1) @ down.flatten(1)
        ).reshape(weight.shape)
        axes = [axis for axis in range(weight.ndim) if axis != 1]
        magnitude = torch.linalg.vector_norm(weight, dim=axes, keepdim=True) * 1.4
        layers[f"{stem}.dora_scale"] = magnitude
        ratio = magnitude / torch.linalg.vector_norm(turned, dim=axes, keepdim=True)
        weights[name] = turned * (1 + SCALE * (ratio - 1))
    st.save_file(layers, file)
    return file, weights


def an_alpha_for_every_module(folder: Path, base: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """By the formula: diffusers 0.42 gives every attention layer the file's commonest alpha."""
    file = write_random_lora(folder / "adapter.safetensors", model_dir=base, seed=1)
    layers = st.load_file(file)
    weights = weights_of(base, "unet")
    for number, (name, weight) in enumerate(list(weights.items())):
        stem = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
        if f"{stem}.lora_up.weight" not in layers:
            continue
        alpha = (1.0, 2.0, 4.0, None)[number % 4]
        del layers[f"{stem}.alpha"]
        if alpha is not None:
            layers[f"{stem}.alpha"] = torch.tensor(alpha)
        up, down = (layers[f"{stem}.lora_{kind}.weight"] for kind in ("up", "down"))
        factor = 1.0 if alpha is None else alpha / len(down)
        product = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        weights[name] = weight + SCALE * factor * product
    st.save_file(layers, file)
    return file, weights


def full_differences(folder: Path, base: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Of weights, biases and norms, as LyCORIS names them."""
    weights = weights_of(base, "unet")
    generator = torch.Generator().manual_seed(8)
    layers = {}
    for name, weight in list(weights.items()):
        module, _, kind = name.rpartition(".")
        is_norm = "norm" in module.rpartition(".")[2]
        role = {"weight": "w_norm", "bias": "b_norm"} if is_norm else {"weight": "diff"}
        if kind in role:
            difference = torch.randn(weight.shape, generator=generator) * weight.std() * 0.2
            layers[f"lora_unet_{module.replace('.', '_')}.{role[kind]}"] = difference
            weights[name] = weight + SCALE * difference
    file = folder / "adapter.safetensors"
    st.save_file(layers, file)
    return file, weights


KINDS: dict[str, Kind] = {
    "LoCon": by_lycoris("locon"),
    "LoCon with Tucker": by_lycoris("locon", use_tucker=True),
    "LoHa": by_lycoris("loha"),
    "LoHa with Tucker": by_lycoris("loha", use_tucker=True),
    "LoKr": by_lycoris("lokr"),
    "full differences and norms": full_differences,
    "DoRA of outputs": by_lycoris("locon", weight_decompose=True, wd_on_out=True),
    "DoRA of inputs": kohya_dora_of_inputs,
    "an alpha for every module": an_alpha_for_every_module,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_pixels_are_those_of_the_merged_weights(
    base: Path, tmp_path: Path, kind: str
) -> None:
    file, weights = KINDS[kind](tmp_path, base)
    expected = Path(shutil.copytree(base, tmp_path / "expected"))
    contiguous = {name: weight.contiguous() for name, weight in weights.items()}
    st.save_file(contiguous, expected / "unet" / "diffusion_pytorch_model.safetensors")
    text = f"base: {base}\nlora: {{path: {file}, scale: {SCALE}}}\n"
    model = resolve(entry(tmp_path / "model", text))

    wanted = reference_request(EIGHT[0])
    (changed,), (plain,) = (reference_images(at, **wanted) for at in (expected, base))
    assert max_difference(changed, plain) > 8, "an adapter this weak proves nothing"
    await assert_like_diffusers(model, EIGHT[:1], expected)
    await assert_like_diffusers(model, EIGHT, expected)
