"""Weights become what LyCORIS, whose kinds of layers they are, makes of them itself."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from lycoris import create_lycoris
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from support.adapter_files import (
    assert_equal_changes,
    changed,
    layouts_of,
    read,
    weights_of,
    write,
)
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM
from torch import nn
from torch.nn import functional

from leyden_server.checkpoint.layout import Layout, conv, linear, norm

SCALES = [1.0, 0.6, -0.4]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


LAYERS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(24, 36), linear("layer", 36, 24), (2, 24)),
    "conv3": (lambda: nn.Conv2d(16, 32, 3, 2, 1), conv("layer", 32, 16, 3), (2, 16, 6, 6)),
    "conv1": (lambda: nn.Conv2d(16, 32, 1), conv("layer", 32, 16, 1), (2, 16, 6, 6)),
}
LAYOUTS: dict[str, Layout] = {
    name: {parameter.name: parameter for parameter in parameters}
    for name, (_, parameters, _) in LAYERS.items()
}
ALGORITHMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LoCon": (LoConModule, {}),
    "LoCon with Tucker": (LoConModule, {"use_tucker": True}),
    "LoCon, rank-stabilised": (LoConModule, {"rs_lora": True}),
    "LoHa": (LohaModule, {}),
    "LoHa with Tucker": (LohaModule, {"use_tucker": True}),
    "LoKr, full": (LokrModule, {"full_matrix": True}),
    "LoKr, one factor a product": (LokrModule, {"factor": 4, "lora_dim": 2}),
    "LoKr, one factor with Tucker": (LokrModule, {"factor": 4, "lora_dim": 2, "use_tucker": True}),
    "LoKr, both factors products": (
        LokrModule,
        {"factor": 8, "lora_dim": 1, "decompose_both": True},
    ),
    "LoKr, factors the other way round": (
        LokrModule,
        {"factor": 4, "lora_dim": 2, "unbalanced_factorization": True},
    ),
}
DORA: dict[str, dict[str, Any]] = {
    "plain": {},
    "DoRA of outputs": {"weight_decompose": True, "wd_on_out": True},
    "DoRA of inputs": {"weight_decompose": True, "wd_on_out": False},
}


def of_lycoris(module: nn.Module, algorithm: str, scale: float, alpha: float, **more: Any) -> Any:
    """Return LyCORIS' module for a layer, with random weights."""
    kind, arguments = ALGORITHMS[algorithm]
    arguments = {"lora_dim": 4, **arguments, **more}
    made = kind("lora_unet_layer", module, scale, alpha=alpha, **arguments)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name == "dora_scale":
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return made.eval()


def written(path: Path, made: Any) -> Path:
    """Write LyCORIS' module as kohya's trainer does."""
    weights = {f"lora_unet_layer.{name}": value for name, value in made.state_dict().items()}
    return write(path, weights)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dora", DORA)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_layer_of_lycoris(
    tmp_path: Path, algorithm: str, dora: str, layer: str, scale: float
) -> None:
    """What a layer gives with LyCORIS' module in front of it, its changed weight gives alone.

    Not only `merge_to` is compared with: LyCORIS 4.1.3's multiplies a LoHa or LoKr twice by alpha /
    rank, which its forward pass, and so its training, does once.
    """
    make, _, inputs = LAYERS[layer]
    module = make()
    before = {f"layer.{name}": value.clone() for name, value in module.state_dict().items()}
    made = of_lycoris(module, algorithm, scale, 3.0, **DORA[dora])
    lora = read(written(tmp_path / "l.safetensors", made), {"unet": LAYOUTS[layer]})
    after = changed(before, (lora, scale))

    x = torch.randn(inputs)
    with torch.no_grad():
        expected = made(x)
        if layer == "linear":
            found = functional.linear(x, after["layer.weight"], after["layer.bias"])
        else:
            found = functional.conv2d(
                x, after["layer.weight"], after["layer.bias"], module.stride, module.padding
            )
    assert (found - expected).norm() <= 1e-5 * (expected - module(x)).norm()

    if algorithm.startswith("LoCon") or lora.layers[0].factor == 1:
        made.merge_to(scale)
        merged = {f"layer.{name}": value for name, value in module.state_dict().items()}
        assert assert_equal_changes(before, after, merged) == 1


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if "rank-" not in name])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_that_lycoris_merges(tmp_path: Path, algorithm: str, layer: str) -> None:
    """Where alpha is the rank, `merge_to` is right for all."""
    module = LAYERS[layer][0]()
    before = {f"layer.{name}": value.clone() for name, value in module.state_dict().items()}
    rank = float(ALGORITHMS[algorithm][1].get("lora_dim", 4))
    made = of_lycoris(module, algorithm, 1.0, rank)
    lora = read(written(tmp_path / "l.safetensors", made), {"unet": LAYOUTS[layer]})
    after = changed(before, (lora, 0.7))

    made.merge_to(0.7)
    merged = {f"layer.{name}": value for name, value in module.state_dict().items()}
    assert assert_equal_changes(before, after, merged) == 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["linear", "conv3", "norm"])
def test_full_differences_and_norms_of_lycoris(tmp_path: Path, kind: str, scale: float) -> None:
    if kind == "norm":
        module: nn.Module = nn.GroupNorm(4, 32)
        layout = {parameter.name: parameter for parameter in norm("layer", 32)}
        made = NormModule("lora_unet_layer", module)
    else:
        module, layout = LAYERS[kind][0](), LAYOUTS[kind]
        made = FullModule("lora_unet_layer", module)
    before = {f"layer.{name}": value.clone() for name, value in module.state_dict().items()}
    if kind != "norm":
        made.apply_to()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    lora = read(written(tmp_path / "l.safetensors", made), {"unet": layout})
    after = changed(before, (lora, scale))

    weight, bias = made.get_merged_weight(scale)
    merged = {"layer.weight": weight.detach(), "layer.bias": bias.detach()}
    assert assert_equal_changes(before, after, merged) == 2


@pytest.mark.parametrize("algorithm", ["locon", "loha", "lokr"])
def test_a_whole_unet_of_lycoris(tmp_path: Path, algorithm: str) -> None:
    """Every layer of a network that LyCORIS makes and saves is found, norms among them."""
    folder = write_random_sdxl(tmp_path / "base", tokenizer_from=TOKENIZER_FROM, seed=4)
    layouts, before = layouts_of(folder), weights_of(folder, "unet")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True)
    network = create_lycoris(
        unet, 1.0, linear_dim=4, linear_alpha=4, algo=algorithm, train_norm=True, factor=4
    )
    with torch.no_grad():
        for module in network.loras:
            for parameter in module.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.1)
            network.add_module(module.lora_name, module)
    network.save_weights(str(tmp_path / "l.safetensors"), None, None)
    after = changed(before, (read(tmp_path / "l.safetensors", layouts), 0.5))

    network.merge_to(0.5)
    count = assert_equal_changes(before, after, unet.state_dict())
    # All weights, and the biases of norms.
    assert count == sum(name.endswith(".weight") or "norm" in name for name in layouts["unet"])


def test_dora_of_lycoris_after_a_plain_lora(tmp_path: Path) -> None:
    module = LAYERS["conv3"][0]()
    before = {f"layer.{name}": value.clone() for name, value in module.state_dict().items()}
    layout = {"unet": LAYOUTS["conv3"]}
    loras = []
    for index, dora in enumerate(("plain", "DoRA of outputs")):
        made = of_lycoris(copy.deepcopy(module), "LoCon", 1.0, 3.0, **DORA[dora])
        loras.append((made, read(written(tmp_path / f"{index}.safetensors", made), layout)))
    after = changed(before, (loras[0][1], 0.7), (loras[1][1], 0.5))

    for (made, _), scale in zip(loras, (0.7, 0.5), strict=True):
        made.org_module[0] = module
        made.merge_to(scale)
    merged = {f"layer.{name}": value for name, value in module.state_dict().items()}
    assert_equal_changes(before, after, merged)
