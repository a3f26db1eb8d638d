"""Each layer's alpha is its own, or what the header says of it; and what a header tells people."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.adapter_files import (
    CONV1,
    PEFT,
    STEM,
    TO_K,
    TO_Q,
    layouts_of,
    multiplied,
    pairs,
    read,
    some_pairs,
    write,
    write_base,
)

from leyden_server.checkpoint.layout import Layout
from leyden_server.checkpoint.lora_metadata import training_notes
from leyden_server.errors import ModelRepositoryError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("loras") / "base")


@pytest.fixture(scope="module")
def layouts(folder: Path) -> dict[str, Layout]:
    return layouts_of(folder)


@pytest.mark.parametrize(
    "alpha",
    [
        torch.tensor(2, dtype=torch.int64),
        torch.tensor(2.0, dtype=torch.float64),
        torch.tensor(2.0, dtype=torch.bfloat16),
        torch.tensor([2.0], dtype=torch.float16),
        torch.tensor(2.0).to(torch.float8_e5m2),
    ],
    ids=lambda alpha: str(alpha.dtype),
)
def test_each_layer_has_its_own_alpha(
    layouts: dict[str, Layout], tmp_path: Path, alpha: torch.Tensor
) -> None:
    weights = some_pairs(layouts)
    weights[f"{STEM}.alpha"] = alpha
    conv = "lora_unet_" + CONV1.replace(".", "_")
    weights[f"{conv}.alpha"] = torch.tensor(1.5)
    lora = read(write(tmp_path / "a.safetensors", weights), layouts)

    layers = {layer.module.name: layer for layer in lora.layers}
    assert {name: layer.factor for name, layer in layers.items()} == {
        TO_Q: 0.5,
        CONV1: 0.375,
        TO_K: 1.0,
    }
    assert layers[TO_Q].alpha_from == f"{STEM}.alpha"
    assert layers[TO_K].alpha_from == ""


CONFIG = {"r": 4, "lora_alpha": 8, "peft_type": "LORA"}


def header(part: str = "unet.", **fields: Any) -> dict[str, str]:
    config = {f"{part}{key}": value for key, value in {**CONFIG, **fields}.items()}
    return {"format": "pt", "lora_adapter_metadata": json.dumps(config, sort_keys=True)}


@pytest.mark.parametrize(
    ("fields", "factors"),
    [
        ({}, (2.0, 2.0)),
        ({"lora_alpha": 3.0}, (0.75, 0.75)),
        ({"use_rslora": True}, (4.0, 4.0)),
        ({"alpha_pattern": {f"^{TO_Q}": 1}}, (0.25, 2.0)),
        ({"alpha_pattern": {"attn2.to_k": 6}}, (2.0, 1.5)),
        ({"alpha_pattern": {r".*attn\d.to_[qk]": 2}}, (0.5, 0.5)),
        ({"rank_pattern": None, "alpha_pattern": None, "bias": "none"}, (2.0, 2.0)),
    ],
)
@pytest.mark.parametrize("part", ["unet.", ""])
def test_the_alphas_of_the_header(
    layouts: dict[str, Layout],
    tmp_path: Path,
    fields: dict[str, Any],
    factors: tuple[float, float],
    part: str,
) -> None:
    shapes = {module: multiplied(layouts["unet"])[module] for module in (TO_Q, TO_K)}
    weights = pairs(shapes, [f"{part}{module}" for module in shapes], ends=PEFT, rank=4)
    lora = read(write(tmp_path / "m.safetensors", weights, header(part, **fields)), layouts)

    found = {layer.module.name: layer.factor for layer in lora.layers}
    assert found == {TO_Q: factors[0], TO_K: factors[1]}
    assert {layer.alpha_from for layer in lora.layers} == {"lora_adapter_metadata"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"r": 5}, "says rank 5, and unet.* has rank 4"),
        ({"rank_pattern": {"to_q": 2}}, "says rank 2"),
        ({"alpha_pattern": {"to_q_lora": 2}}, "names to_q_lora, and no layer of it is called so"),
        ({"alpha_pattern": {"to_q(": 2}}, "alpha_pattern: a table of names and numbers"),
        ({"use_dora": True}, "says use_dora true, and .* lacks the tensors"),
        ({"lora_bias": True}, "says lora_bias true"),
        ({"init_lora_weights": "pissa"}, 'init_lora_weights: .* is served; got "pissa"'),
        ({"bias": "all"}, "bias: "),
        ({"modules_to_save": ["conv_out"]}, "modules_to_save"),
        ({"lora_alpha": 0}, "alpha is 0"),
        ({"lora_alpha": "8"}, "lora_alpha: a number"),
        ({"peft_type": "IA3"}, "an adapter of type 'IA3'"),
        ({"peft_type": "LOHA", "lora_alpha": None}, "lora_alpha"),
        ({"use_roslora": True}, "does not know this field .* 'use_rslora'"),
    ],
)
def test_a_header_that_is_not_served_is_refused(
    layouts: dict[str, Layout], tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    shapes = {module: multiplied(layouts["unet"])[module] for module in (TO_Q, TO_K)}
    weights = pairs(shapes, [f"unet.{module}" for module in shapes], ends=PEFT, rank=4)
    file = write(tmp_path / "refused.safetensors", weights, header(**fields))
    with pytest.raises(ModelRepositoryError, match=rf"refused\.safetensors: .*{said}"):
        read(file, layouts)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_header_that_cannot_be_read_is_refused(
    layouts: dict[str, Layout], tmp_path: Path, text: str
) -> None:
    file = write(tmp_path / "h.safetensors", some_pairs(layouts), {"lora_adapter_metadata": text})
    with pytest.raises(ModelRepositoryError, match=r"lora_adapter_metadata is not (a )?JSON"):
        read(file, layouts)


def test_alpha_and_header_may_not_contradict_each_other(
    layouts: dict[str, Layout], tmp_path: Path
) -> None:
    weights = {**some_pairs(layouts), f"{STEM}.alpha": torch.tensor(8.0)}
    lora = read(write(tmp_path / "same.safetensors", weights, header()), layouts)
    assert {layer.factor for layer in lora.layers} == {2.0}

    weights[f"{STEM}.alpha"] = torch.tensor(4.0)
    file = write(tmp_path / "other.safetensors", weights, header())
    with pytest.raises(ModelRepositoryError, match="alpha is 4 and lora_adapter_metadata says 8"):
        read(file, layouts)


@pytest.mark.parametrize(
    ("module", "stored", "factor"),
    [
        # LyCORIS since July 2024: alpha times the root of the rank.
        ("lycoris.kohya", 4.0, 1.0),
        # Before: alpha itself, to be divided by the root.
        ("lycoris.kohya", 2.0, 1.0),
        # Resized since: neither, and rank and alpha belong to each other.
        ("lycoris.kohya", 3.0, 0.75),
        # kohya's own LoRAs have no such argument.
        ("networks.lora", 2.0, 0.5),
    ],
)
def test_rank_stabilised_loras_of_kohyas_trainer(
    layouts: dict[str, Layout], tmp_path: Path, module: str, stored: float, factor: float
) -> None:
    weights = {**some_pairs(layouts), f"{STEM}.alpha": torch.tensor(stored)}
    metadata = {
        "ss_network_module": module,
        "ss_network_alpha": "2.0",
        "ss_network_args": json.dumps({"algo": "lora", "rs_lora": "True"}),
    }
    lora = read(write(tmp_path / "rs.safetensors", weights, metadata), layouts)
    layer = next(layer for layer in lora.layers if layer.stem == STEM)
    assert layer.factor == pytest.approx(factor)


def test_notes_for_people() -> None:
    notes = training_notes(
        {
            "modelspec.trigger_phrase": "zwx style",
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
            "modelspec.title": "",
            "ss_output_name": "zwx",
            "ss_training_comment": "None",
            "ss_base_model_version": "sdxl_base_v1-0",
            "ss_tag_frequency": json.dumps(
                {"10_zwx": {"zwx": 20, " cat": 3}, "1_other": {"zwx": 1, "dog": 5}}
            ),
        }
    )
    assert notes.trigger_phrase == "zwx style"
    assert notes.tags == (("zwx", 21), ("dog", 5), ("cat", 3))
    assert (notes.title, notes.comment) == ("zwx", "")
    assert notes.base_model == "sdxl_base_v1-0"

    empty = training_notes({"ss_tag_frequency": "{"})
    assert (empty.trigger_phrase, empty.tags) == ("", ())
