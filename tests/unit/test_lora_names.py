"""A LoRA's modules are found by the names of every trainer and every program."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from support.adapter_files import (
    KOHYA,
    PEFT,
    layouts_of,
    multiplied,
    pairs,
    read,
    underscored,
    write,
    write_base,
)

from leyden_server.checkpoint.layout import Layout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("loras") / "base")


@pytest.fixture(scope="module")
def layouts(folder: Path) -> dict[str, Layout]:
    return layouts_of(folder)


def without_text_model(module: str) -> str:
    return module.removeprefix("text_model.")


@pytest.mark.parametrize(
    ("part", "stem", "ends"),
    [
        ("unet", underscored("lora_unet_"), KOHYA),
        ("unet", underscored("lycoris_"), KOHYA),
        ("unet", "unet.{}".format, PEFT),
        ("unet", "unet.{}".format, (".lora.down.weight", ".lora.up.weight")),
        ("unet", "{}".format, PEFT),
        ("unet", "{}".format, (".lora_A.default.weight", ".lora_B.default.weight")),
        ("unet", "base_model.model.{}".format, PEFT),
        ("unet", "diffusion_model.{}".format, PEFT),
        ("text_encoder", underscored("lora_te1_"), KOHYA),
        ("text_encoder", "text_encoder.{}".format, PEFT),
        ("text_encoder", lambda name: f"text_encoder.{without_text_model(name)}", PEFT),
        ("text_encoder", "text_encoders.clip_l.transformer.{}".format, KOHYA),
        (
            "text_encoder",
            "text_encoder.{}".format,
            (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        ),
        ("text_encoder_2", underscored("lora_te2_"), KOHYA),
        ("text_encoder_2", "text_encoder_2.base_model.model.{}".format, PEFT),
        ("text_encoder_2", "text_encoders.clip_g.transformer.{}".format, KOHYA),
    ],
)
def test_each_scheme_names_every_module(
    layouts: dict[str, Layout],
    tmp_path: Path,
    part: str,
    stem: Callable[[str], str],
    ends: tuple[str, str],
) -> None:
    shapes = multiplied(layouts[part])
    weights = pairs(shapes, map(stem, shapes), ends=ends)
    lora = read(write(tmp_path / "l.safetensors", weights), layouts)

    assert lora.parts == (part,)
    assert {layer.module.name for layer in lora.layers} == shapes.keys()
    for layer in lora.layers:
        assert layer.tensors["down"].name == stem(layer.module.name) + ends[0]
        assert layer.tensors["up"].name == stem(layer.module.name) + ends[1]
        assert layer.parameters == (f"{layer.module.name}.weight",)
        assert (layer.rank, layer.alpha, layer.factor) == (3, None, 1.0)


def test_sgms_names_are_those_that_diffusers_takes_them_for(
    folder: Path, layouts: dict[str, Layout], tmp_path: Path
) -> None:
    shapes = multiplied(layouts["unet"])
    originals = {
        module: layouts["unet"][f"{module}.weight"].original.removesuffix(".weight")
        for module in shapes
    }
    stems = [underscored("lora_unet_")(originals[module]) for module in shapes]
    weights = pairs(shapes, stems, ends=KOHYA)
    file = write(tmp_path / "sgm.safetensors", weights)

    config = UNet2DConditionModel.load_config(folder / "unet")
    unet = UNet2DConditionModel.from_config(config)
    theirs, _ = StableDiffusionXLPipeline.lora_state_dict(str(file), unet_config=unet.config)
    ours = {layer.stem: layer.module.name for layer in read(file, layouts).layers}
    found = {
        next(stem for stem in stems if torch.equal(weights[stem + KOHYA[0]], tensor)): plain(name)
        for name, tensor in theirs.items()
        if name.endswith((".down.weight", "lora_A.weight"))
    }
    assert found == ours
    assert len(ours) == len(shapes)


def plain(name: str) -> str:
    """Return the module of a name as diffusers had them before it had peft."""
    stem = name.removeprefix("unet.").replace(".processor.", ".")
    for end in (".lora.down.weight", ".down.weight", ".lora_A.weight"):
        stem = stem.removesuffix(end)
    stem = stem.removesuffix("_lora")
    return stem.removesuffix("to_out") + "to_out.0" if stem.endswith("to_out") else stem


def test_sgms_names_outside_its_blocks(layouts: dict[str, Layout], tmp_path: Path) -> None:
    outside = {
        "time_embed_0": "time_embedding.linear_1",
        "time_embed_2": "time_embedding.linear_2",
        "label_emb_0_0": "add_embedding.linear_1",
        "label_emb_0_2": "add_embedding.linear_2",
        "input_blocks_0_0": "conv_in",
        "out_2": "conv_out",
        "output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
    }
    all_shapes = multiplied(layouts["unet"])
    shapes = {module: all_shapes[module] for module in outside.values()}
    stems = [f"lora_unet_{name}" for name in outside]
    lora = read(write(tmp_path / "o.safetensors", pairs(shapes, stems, ends=KOHYA)), layouts)

    assert {layer.stem: layer.module.name for layer in lora.layers} == dict(
        zip(stems, outside.values(), strict=True)
    )


@pytest.mark.parametrize(
    ("part", "module", "stem"),
    [
        ("unet", "{}.attn1.to_q", "unet.{}.attn1.processor.to_q_lora"),
        ("unet", "{}.attn1.to_out.0", "{}.attn1.processor.to_out_lora"),
        ("text_encoder", "{}.self_attn.out_proj", "text_encoder.{}.self_attn.to_out_lora"),
    ],
)
def test_attention_processors_of_old_diffusers(
    layouts: dict[str, Layout], tmp_path: Path, part: str, module: str, stem: str
) -> None:
    block = {
        "unet": "down_blocks.1.attentions.0.transformer_blocks.0",
        "text_encoder": "text_model.encoder.layers.1",
    }[part]
    name = module.format(block)
    shapes = {name: multiplied(layouts[part])[name]}
    weights = pairs(shapes, [stem.format(block)], ends=(".down.weight", ".up.weight"))
    (layer,) = read(write(tmp_path / "old.safetensors", weights), layouts).layers
    assert (layer.module.part, layer.module.name) == (part, name)
