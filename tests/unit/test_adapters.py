"""Weights become what peft and diffusers make of them, or what the formula says where they err."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft.utils import get_peft_model_state_dict
from support.adapter_files import (
    Weights,
    assert_equal_changes,
    changed,
    layouts_of,
    matrices,
    multiplied,
    read,
    weights_of,
    write,
)
from support.checkpoint_files import write_random_lora
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM
from torch import nn

from leyden_server.accelerator.adapters import Adapters
from leyden_server.accelerator.weights import fill, without_memory
from leyden_server.checkpoint.layout import Layout
from leyden_server.checkpoint.model_plan import ModelPlan, WeightFiles
from leyden_server.errors import ModelRepositoryError

SCALES = [1.0, 0.6, -0.4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_sdxl(
        tmp_path_factory.mktemp("adapters") / "base", tokenizer_from=TOKENIZER_FROM, seed=4
    )


@pytest.fixture(scope="module")
def layouts(folder: Path) -> dict[str, Layout]:
    return layouts_of(folder)


@pytest.fixture(scope="module")
def before(folder: Path) -> Weights:
    return weights_of(folder, "unet")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


ATTENTION = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj"]
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "strong": {"lora_alpha": 16},
    "rank-stabilised": {"use_rslora": True, "lora_alpha": 6},
    "mixed": {
        "rank_pattern": {"attn1.to_q": 2, r"down_blocks.*to_v": 6},
        "alpha_pattern": {"attn2.to_k": 1, r"attn1\.to_v": 12},
    },
    "DoRA": {"use_dora": True, "lora_alpha": 3},
    "with biases": {
        "lora_bias": True,
        "target_modules": ["to_out.0", "conv1", "proj_in"],
        "lora_alpha": 2,
    },
    "on convolutions": {
        "target_modules": ["conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "conv_in"],
    },
    "DoRA on convolutions": {
        "use_dora": True,
        "target_modules": ["conv1", "conv_shortcut", "to_q"],
        "alpha_pattern": {"conv1": 2},
    },
}


def adapted(folder: Path, config: Any) -> UNet2DConditionModel:
    """Return the UNet with an adapter of peft's, whose weights are random."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True)
    unet.add_adapter(config)
    randomise(unet)
    return unet


def randomise(model: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
            elif "lora_" in name or "hada_" in name or "lokr_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)


def saved_with_its_header(unet: UNet2DConditionModel, folder: Path, how: str) -> Path:
    """Save the adapter as diffusers' training scripts do; returns the file."""
    if how == "save_lora_adapter":
        unet.save_lora_adapter(folder)
    else:
        weights = get_peft_model_state_dict(unet)
        if how == "in old names":
            weights = convert_state_dict_to_diffusers(weights)
        StableDiffusionXLPipeline.save_lora_weights(
            folder,
            unet_lora_layers=weights,
            unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
        )
    return folder / "pytorch_lora_weights.safetensors"


def fused(unet: UNet2DConditionModel, file: Path, scale: float, prefix: str | None) -> Weights:
    """Load an adapter into a UNet by diffusers, fuse it and forget it."""
    unet.load_lora_adapter(file.parent, prefix=prefix, weight_name=file.name)
    unet.fuse_lora(lora_scale=scale)
    unet.unload_lora()
    return {name: tensor.clone() for name, tensor in unet.state_dict().items()}


def plain_unet(folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True)


# peft takes a bias for a matrix that DeepSpeed has left in pieces.
@pytest.mark.filterwarnings("ignore:.*lora_B.bias.*:peft.utils.warning.PeftWarning")
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("how", ["save_lora_adapter", "save_lora_weights"])
def test_an_adapter_of_peft_that_diffusers_fuses(
    folder: Path,
    layouts: dict[str, Layout],
    before: Weights,
    tmp_path: Path,
    name: str,
    how: str,
    scale: float,
) -> None:
    config = peft.LoraConfig(r=4, **{"target_modules": ATTENTION, **CONFIGS[name]})
    file = saved_with_its_header(adapted(folder, config), tmp_path / "saved", how)
    after = changed(before, (read(file, layouts), scale))

    prefix = None if how == "save_lora_adapter" else "unet"
    expected = fused(plain_unet(folder), file, scale, prefix)
    assert assert_equal_changes(before, after, expected) >= 4


def test_the_names_of_diffusers_own_scripts(
    folder: Path, layouts: dict[str, Layout], before: Weights, tmp_path: Path
) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=ATTENTION)
    file = saved_with_its_header(adapted(folder, config), tmp_path / "saved", "in old names")
    assert any(name.endswith("to_q.lora.down.weight") for name in safetensors.torch.load_file(file))

    after = changed(before, (read(file, layouts), 1.0))
    expected = fused(plain_unet(folder), file, 1.0, "unet")
    assert assert_equal_changes(before, after, expected) > 10


@pytest.mark.parametrize(
    "config",
    [
        peft.LoHaConfig(r=4, alpha=6, target_modules=[*ATTENTION, "conv1", "conv_shortcut"]),
        peft.LoHaConfig(r=4, alpha=2, target_modules=["conv1"], use_effective_conv2d=True),
        peft.LoKrConfig(r=2, alpha=6, target_modules=[*ATTENTION, "conv1", "conv_shortcut"]),
        peft.LoKrConfig(r=2, alpha=6, target_modules=["conv1"], use_effective_conv2d=True),
        peft.LoKrConfig(
            r=1, alpha=3, decompose_both=True, target_modules=["conv1", "to_q"],
            alpha_pattern={"to_q": 2},
        ),
    ],
    ids=lambda config: f"{config.peft_type.value}-{config.use_effective_conv2d}-{config.r}",
)  # fmt: skip
def test_lohas_and_lokrs_of_peft(
    folder: Path, layouts: dict[str, Layout], before: Weights, tmp_path: Path, config: Any
) -> None:
    unet = adapted(folder, config)
    unet.save_lora_adapter(tmp_path)
    after = changed(before, (read(tmp_path / "pytorch_lora_weights.safetensors", layouts), 1.0))

    unet.fuse_lora()
    expected = {
        name.replace(".base_layer", ""): tensor
        for name, tensor in unet.state_dict().items()
        if "hada_" not in name and "lokr_" not in name
    }
    assert assert_equal_changes(before, after, expected) >= 4


# kohya's trainer.


def kohya(layout: Layout, stem: str, *, seed: int, dtype: torch.dtype = torch.float32) -> Weights:
    """Return pairs for all modules, each with a rank and, for two of three, an alpha of its own."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for index, (module, shape) in enumerate(multiplied(layout).items()):
        name = stem + module.replace(".", "_")
        down, up = matrices(shape, 1 + index % 4, generator)
        weights[f"{name}.lora_down.weight"] = down.to(dtype)
        weights[f"{name}.lora_up.weight"] = up.to(dtype)
        if index % 3:
            weights[f"{name}.alpha"] = torch.tensor(0.5 + index % 5)
    return weights


def by_hand(before: Weights, lora: Weights, stem: str, scale: float) -> Weights:
    """Return the weights and their changes by the formula, written once more."""
    after = dict(before)
    for name, weight in before.items():
        own = stem + name.removesuffix(".weight").replace(".", "_")
        if name.endswith(".weight") and f"{own}.lora_up.weight" in lora:
            up = lora[f"{own}.lora_up.weight"].float()
            down = lora[f"{own}.lora_down.weight"].float()
            alpha = lora.get(f"{own}.alpha", torch.tensor(len(down)))
            change = torch.einsum("or,r...->o...", up.flatten(1), down)
            after[name] = weight + scale * alpha / len(down) * change.reshape(weight.shape)
    return after


@pytest.mark.parametrize(
    ("part", "stem"),
    [("unet", "lora_unet_"), ("text_encoder", "lora_te1_"), ("text_encoder_2", "lora_te2_")],
)
def test_each_module_has_its_own_alpha(
    folder: Path, layouts: dict[str, Layout], tmp_path: Path, part: str, stem: str
) -> None:
    """Against the formula: diffusers 0.42 gives attention the commonest alpha of the file."""
    before = weights_of(folder, part)
    weights = kohya(layouts[part], stem, seed=2)
    after = changed(
        before, (read(write(tmp_path / "k.safetensors", weights), layouts), 0.8), part=part
    )

    count = assert_equal_changes(before, after, by_hand(before, weights, stem, 0.8))
    assert count == len(multiplied(layouts[part]))


def test_one_file_for_all_parts(folder: Path, layouts: dict[str, Layout], tmp_path: Path) -> None:
    stems = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    weights: Weights = {}
    for part, stem in stems.items():
        weights |= kohya(layouts[part], stem, seed=3)
    lora = read(write(tmp_path / "all.safetensors", weights), layouts)

    assert set(lora.parts) == set(stems)
    for part, stem in stems.items():
        before = weights_of(folder, part)
        after = changed(before, (lora, 1.0), part=part)
        assert_equal_changes(before, after, by_hand(before, weights, stem, 1.0))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_encoders_adapter_of_peft(
    folder: Path, layouts: dict[str, Layout], tmp_path: Path
) -> None:
    from transformers import CLIPTextModelWithProjection

    before = weights_of(folder, "text_encoder_2")
    encoder = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")
    config = peft.LoraConfig(r=4, lora_alpha=2, target_modules=["q_proj", "fc1", "out_proj"])
    model = peft.get_peft_model(encoder, config)
    randomise(model)
    weights = {
        f"text_encoder_2.{name}": tensor
        for name, tensor in get_peft_model_state_dict(model).items()
    }
    header = f'{{"text_encoder_2.r": 4, "text_encoder_2.lora_alpha": {config.lora_alpha}}}'
    file = write(tmp_path / "te.safetensors", weights, {"lora_adapter_metadata": header})
    after = changed(before, (read(file, layouts), 1.0), part="text_encoder_2")

    merged = model.merge_and_unload().state_dict()
    expected = {name: merged.get(name, merged.get(f"text_model.{name}")) for name in before}
    assert assert_equal_changes(before, after, expected) == 9


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_halves_and_quarters_are_multiplied_in_float32(
    layouts: dict[str, Layout], before: Weights, tmp_path: Path, dtype: torch.dtype
) -> None:
    weights = kohya(layouts["unet"], "lora_unet_", seed=4, dtype=dtype)
    after = changed(before, (read(write(tmp_path / "h.safetensors", weights), layouts), 1.0))
    assert_equal_changes(before, after, by_hand(before, weights, "lora_unet_", 1.0))


# Several files.


@pytest.mark.parametrize("dora", ["none", "first", "last", "both"])
def test_several_are_applied_one_after_another(
    folder: Path, layouts: dict[str, Layout], before: Weights, tmp_path: Path, dora: str
) -> None:
    files, scales = [], [0.7, -0.4]
    for index, where in enumerate(("first", "last")):
        config = peft.LoraConfig(
            r=4, lora_alpha=3, target_modules=["to_q", "conv1"], use_dora=dora in (where, "both")
        )
        files.append(
            saved_with_its_header(
                adapted(folder, config), tmp_path / str(index), "save_lora_weights"
            )
        )
    loras = [(read(file, layouts), scale) for file, scale in zip(files, scales, strict=True)]
    after = changed(before, *loras)

    unet = plain_unet(folder)
    for file, scale in zip(files, scales, strict=True):
        expected = fused(unet, file, scale, "unet")
    assert_equal_changes(before, after, expected)
    if dora != "none":
        backwards = changed(before, *reversed(loras))
        assert any(not torch.allclose(after[name], backwards[name]) for name in before)


def test_a_part_is_filled_with_the_changed_weights(
    folder: Path, layouts: dict[str, Layout], tmp_path: Path
) -> None:
    """From the base's file to the module, as diffusers' fused UNet."""
    files = {part: tuple((folder / part).glob("*.safetensors")) for part in layouts}
    plan = ModelPlan(WeightFiles(folder, files)).part("unet")
    file = write_random_lora(tmp_path / "k.safetensors", model_dir=folder, seed=1)
    adapters = Adapters("unet", [(read(file, layouts), 0.9)])
    config = UNet2DConditionModel.load_config(folder / "unet")
    unet = without_memory(lambda: UNet2DConditionModel.from_config(config))
    fill(unet, plan, torch.bfloat16, adapters=adapters)

    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora(lora_scale=0.9)
    pipeline.unload_lora_weights()
    expected = pipeline.unet.to(torch.bfloat16).state_dict()
    differing = sum(
        int((tensor != expected[name]).sum()) for name, tensor in unet.state_dict().items()
    )
    # Sums whose last float32 bits differ may round to either side.
    assert differing <= sum(tensor.numel() for tensor in expected.values()) / 1000


# What is broken.


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("end", ["lora_down.weight", "lora_up.weight"])
def test_a_tensor_that_is_not_finite_is_named(
    layouts: dict[str, Layout], before: Weights, tmp_path: Path, end: str, value: float
) -> None:
    weights = kohya(layouts["unet"], "lora_unet_", seed=5)
    name = f"lora_unet_mid_block_attentions_0_proj_in.{end}"
    weights[name].view(-1)[-1] = value
    lora = read(write(tmp_path / "broken.safetensors", weights), layouts)
    with pytest.raises(ModelRepositoryError, match=rf"broken\.safetensors: {name}: holds NaN"):
        changed(before, (lora, 1.0))


def test_what_overflows_is_named(
    layouts: dict[str, Layout], before: Weights, tmp_path: Path
) -> None:
    weights: Mapping[str, torch.Tensor] = kohya(layouts["unet"], "lora_unet_", seed=5)
    for end in ("down", "up"):
        weights[f"lora_unet_conv_out.lora_{end}.weight"].fill_(1e30)
    lora = read(write(tmp_path / "large.safetensors", weights), layouts)
    with pytest.raises(
        ModelRepositoryError,
        match=r"large\.safetensors: lora_unet_conv_out: makes NaN or infinity of conv_out\.weight",
    ):
        changed(before, (lora, 1.0))
