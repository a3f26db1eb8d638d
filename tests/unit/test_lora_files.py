"""Every tensor of a LoRA file has one place in the model, or the load names it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.adapter_files import (
    KOHYA,
    STEM,
    TO_K,
    TO_Q,
    Weights,
    layouts_of,
    read,
    some_pairs,
    write,
    write_base,
)

from leyden_server.checkpoint.layout import Layout, conv, linear, norm
from leyden_server.checkpoint.lora_file import LoraFile
from leyden_server.errors import ModelRepositoryError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("loras") / "base")


@pytest.fixture(scope="module")
def layouts(folder: Path) -> dict[str, Layout]:
    return layouts_of(folder)


Spoil = Callable[[Weights], object]


def rename(weights: Weights, old: str, new: str) -> None:
    for name in [name for name in weights if name.startswith(old)]:
        weights[name.replace(old, new)] = weights.pop(name)


def another(weights: Weights, stem: str) -> None:
    for end in KOHYA:
        weights[stem + end] = weights[STEM + end].clone()


SPOILT: dict[str, tuple[Spoil, str]] = {
    "two schemes": (
        lambda w: another(w, "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"),
        rf"has {TO_Q} of the unet twice, as .* and as .*: a module can be changed only once",
    ),
    "two adapters": (
        lambda w: w.update(
            {f"{TO_Q}.lora_A.{name}.weight": torch.zeros(4, 64) for name in ("one", "two")}
        ),
        r"the same of one module twice: .*one\.weight and .*two\.weight",
    ),
    "half": (
        lambda w: w.pop(f"{STEM}.lora_up.weight"),
        rf"{STEM}\.lora_down\.weight: lacks its other half: up",
    ),
    "alpha alone": (
        lambda w: w.update({"lora_unet_conv_in.alpha": torch.tensor(1.0)}),
        r"lora_unet_conv_in\.alpha: lacks the rest of its layer",
    ),
    "unknown module": (
        lambda w: rename(w, STEM, "lora_unet_down_blocks_7_attn1_to_q"),
        r"lora_unet_down_blocks_7_attn1_to_q\.lora_down\.weight, .*: the model has no such module",
    ),
    "unknown tensor": (
        lambda w: w.update({f"{STEM}.lora_sideways.weight": torch.zeros(1)}),
        r"lora_sideways\.weight: Leyden knows no adapter with such a tensor",
    ),
    "other width": (
        lambda w: w.update({f"{STEM}.lora_down.weight": torch.zeros(4, 3)}),
        r"lora_down\.weight: shape \[4, 3\] in place of \[4, 64\]",
    ),
    "other rank": (
        lambda w: w.update({f"{STEM}.lora_up.weight": torch.zeros(64, 5)}),
        r"lora_up\.weight: shape \[64, 5\] in place of \[64, 4\]",
    ),
    "rank 0": (
        lambda w: w.update(
            {f"{STEM}{KOHYA[0]}": torch.zeros(0, 64), f"{STEM}{KOHYA[1]}": torch.zeros(64, 0)}
        ),
        "has rank 0",
    ),
    "whole numbers": (
        lambda w: w.update({f"{STEM}.lora_down.weight": torch.zeros(4, 64, dtype=torch.int8)}),
        r"lora_down\.weight: I8 is no float",
    ),
    "two kinds": (
        lambda w: w.update({f"{STEM}.diff": torch.zeros(64, 64)}),
        "is lora and diff at once",
    ),
    "bias of none": (
        lambda w: w.update({f"{STEM}.diff_b": torch.zeros(64)}),
        r"diff_b: changes a bias that its module does not have",
    ),
    "DoRA of no axis": (
        lambda w: w.update({f"{STEM}.dora_scale": torch.zeros(64)}),
        r"dora_scale: its shape \[64\] is no DoRA's of a weight \[64, 64\]",
    ),
    "not a number": (
        lambda w: w.update({f"{STEM}.alpha": torch.tensor(float("nan"))}),
        r"\.alpha: alpha is nan; the file is damaged",
    ),
    "alphas": (
        lambda w: w.update({f"{STEM}.alpha": torch.zeros(2)}),
        r"\.alpha: shape \[2\]; alpha is one number",
    ),
    "an embedding": (
        lambda w: another(w, "lora_te1_text_model_embeddings_token_embedding"),
        "a LoRA on embeddings is not served",
    ),
    "an encoder without its name": (
        lambda w: rename(w, STEM, "text_model.encoder.layers.0.self_attn.q_proj"),
        "names of theirs begin with text_encoder. or text_encoder_2.",
    ),
    "a norm": (
        lambda w: another(w, "lora_unet_conv_norm_out"),
        r"a layer of kind lora for a weight of shape \[32\]",
    ),
    "Stable Diffusion 1": (
        lambda w: w.update(
            {"lora_unet_" + TO_K.replace(".", "_") + ".lora_down.weight": torch.zeros(4, 768)}
        ),
        "It looks like a LoRA of Stable Diffusion 1",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_has_no_place_is_named(layouts: dict[str, Layout], tmp_path: Path, how: str) -> None:
    spoil, said = SPOILT[how]
    weights = some_pairs(layouts)
    read(write(tmp_path / "good.safetensors", weights), layouts)
    spoil(weights)
    file = write(tmp_path / "spoilt.safetensors", weights)
    with pytest.raises(ModelRepositoryError, match=rf"spoilt\.safetensors: .*{said}"):
        read(file, layouts)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "Stable Diffusion 1 or 2"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "FLUX"),
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "transformer"),
        ("down_blocks.0.motion_modules.0.to_q.lora_A.weight", "AnimateDiff"),
        ("lllite_unet_input_blocks_4_1.down.0.weight", "ControlNet-LLLite"),
        ("lora_controlnet", "Control-LoRA"),
        ("bundle_emb.cat.string_to_param.*", "textual inversions in one file"),
        (f"{STEM}.oft_blocks", "an OFT"),
        (f"unet.{TO_Q}.oft_R.weight", "an OFT"),
        (f"unet.{TO_Q}.boft_R", "a BOFT"),
        (f"{STEM}.on_input", "an IA3"),
        (f"{STEM}.a1.weight", "a GLoRA"),
        (f"{STEM}.lambda_layer", "a T-LoRA"),
        ("text_encoder.embeddings.token_embedding.lora_embedding_A", "a LoRA on embeddings"),
        (f"{STEM}.bias_values", "sparse differences"),
    ],
)
def test_kinds_that_are_not_served_are_called_by_their_names(
    layouts: dict[str, Layout], tmp_path: Path, name: str, kind: str
) -> None:
    weights = {**some_pairs(layouts), name: torch.zeros(4, 64)}
    with pytest.raises(ModelRepositoryError, match=f"{kind}.*which Leyden does not serve"):
        read(write(tmp_path / "kind.safetensors", weights), layouts)


def kinds_of(file: Path, layout: Layout) -> dict[str, tuple[str, tuple[str, ...]]]:
    lora: LoraFile = read(file, {"unet": layout})
    return {layer.module.name: (layer.kind, layer.parameters) for layer in lora.layers}


def test_what_each_kind_changes(tmp_path: Path) -> None:
    parameters = [*linear("ff", 6, 4), *conv("conv", 6, 4, 3), *norm("norm", 6)]
    layout = {parameter.name: parameter for parameter in parameters}
    weights = {
        "lora_unet_ff.hada_w1_a": torch.zeros(6, 2),
        "lora_unet_ff.hada_w1_b": torch.zeros(2, 4),
        "lora_unet_ff.hada_w2_a": torch.zeros(6, 2),
        "lora_unet_ff.hada_w2_b": torch.zeros(2, 4),
        "lora_unet_ff.diff_b": torch.zeros(6),
        "lora_unet_conv.lokr_w1": torch.zeros(2, 2),
        "lora_unet_conv.lokr_w2": torch.zeros(3, 2, 3, 3),
        "lora_unet_norm.w_norm": torch.zeros(6),
        "lora_unet_norm.b_norm": torch.zeros(6),
    }
    assert kinds_of(write(tmp_path / "k.safetensors", weights), layout) == {
        "ff": ("loha", ("ff.weight", "ff.bias")),
        "conv": ("lokr", ("conv.weight",)),
        "norm": ("norm", ("norm.weight", "norm.bias")),
    }
    weights = {
        "lora_unet_ff.diff": torch.zeros(6, 4),
        "lora_unet_conv.diff_b": torch.zeros(6),
        "lora_unet_norm.diff": torch.zeros(6),
    }
    assert kinds_of(write(tmp_path / "d.safetensors", weights), layout) == {
        "ff": ("diff", ("ff.weight",)),
        "conv": ("diff", ("conv.bias",)),
        "norm": ("diff", ("norm.weight",)),
    }
    weights = {
        "lora_unet_conv.lokr_w1": torch.zeros(4, 3),
        "lora_unet_conv.lokr_w2": torch.zeros(2, 2, 3, 3),
    }
    with pytest.raises(ModelRepositoryError, match="no Kronecker product of theirs has shape"):
        kinds_of(write(tmp_path / "w.safetensors", weights), layout)
