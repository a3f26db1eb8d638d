"""A LoRA is fused as diffusers fuses it, and counts in what identifies the weights."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from support.checkpoint_files import LORA_RANK, write_random_lora
from support.model_folders import entry, resolve, revision
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.reference import max_difference, reference_images
from support.stages import TOKENIZER_FROM, Stages, reference_request

from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.denoiser.unet_weights import load_unet
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ResolvedModel

ALPHA = 2.0
REQUESTS: list[dict[str, Any]] = [
    {
        "prompt": f"a red mountain over lake number {number}",
        "seed": 40 + number,
        "num_inference_steps": 4,
        "guidance_scale": guidance,
        "width_px": 64,
        "height_px": 64,
    }
    for number, guidance in enumerate([0.0, 0.0, 2.0])
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora") / "base"
    return write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM, seed=4)


@pytest.fixture(scope="module")
def lora(folder: Path) -> Path:
    return write_random_lora(
        folder.parent / "lora.safetensors", model_dir=folder, seed=1, alpha=ALPHA
    )


def fused(folder: Path, file: Path, scale: float, more: str = "") -> ResolvedModel:
    text = f"base: {folder}\nlora: {{path: {file}, scale: {scale}}}\n{more}"
    return resolve(entry(folder.parent / f"fused-{file.stem}-{scale}", text))


def fused_by_diffusers(target: Path, folder: Path, file: Path, scale: float) -> Path:
    """Save what `load_lora_weights` and `fuse_lora` make of the folder; return where."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora(lora_scale=scale)
    pipeline.unload_lora_weights()
    pipeline.save_pretrained(target)
    return target


async def images_of(model: ResolvedModel) -> list[Any]:
    stages = Stages.load(model)
    try:
        return await stages.images([stages.request(**request) for request in REQUESTS])
    finally:
        stages.denoiser.stop()


@pytest.mark.parametrize("scale", [1.0, 0.5])
async def test_pixels_are_those_of_diffusers(
    folder: Path, lora: Path, tmp_path: Path, scale: float
) -> None:
    images = await images_of(fused(folder, lora, scale))

    expected = fused_by_diffusers(tmp_path / "expected", folder, lora, scale)
    for image, request in zip(images, REQUESTS, strict=True):
        wanted = reference_request(request)
        (reference,) = reference_images(expected, **wanted)
        assert reference.std() > 10
        assert max_difference(image, reference) <= 1
        assert max_difference(image, reference_images(folder, **wanted)[0]) > 8


async def test_it_is_fused_into_a_unet_file_too(folder: Path, lora: Path, tmp_path: Path) -> None:
    file = write_random_unet_file(tmp_path / "u.safetensors", model_dir=folder, seed=9)
    images = await images_of(fused(folder, lora, 0.9, f"unet: {file}\n"))

    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    pipeline.unet.load_state_dict(safetensors.torch.load_file(file))
    pipeline.save_pretrained(tmp_path / "student")
    expected = fused_by_diffusers(tmp_path / "expected", tmp_path / "student", lora, 0.9)
    for image, request in zip(images, REQUESTS, strict=True):
        (reference,) = reference_images(expected, **reference_request(request))
        assert max_difference(image, reference) <= 1


def test_every_weight_is_the_sum_that_it_should_be(folder: Path, lora: Path) -> None:
    scale = 0.75
    before = safetensors.torch.load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    after = load_unet(fused(folder, lora, scale), torch.float32).unet.state_dict()
    parts = safetensors.torch.load_file(lora)

    assert set(after) == set(before)
    changed = 0
    for name, weight in before.items():
        stem = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
        if not name.endswith(".weight") or f"{stem}.lora_up.weight" not in parts:
            assert torch.equal(after[name], weight), name
            continue
        up, down = parts[f"{stem}.lora_up.weight"], parts[f"{stem}.lora_down.weight"]
        product = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        expected = weight + scale * ALPHA / LORA_RANK * product
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(after[name], weight, rtol=1e-2, atol=1e-3)
        changed += 1
    assert changed == len(parts) / 3


def test_names_of_diffusers_are_read_as_well_as_kohyas(
    folder: Path, lora: Path, tmp_path: Path
) -> None:
    kohya = safetensors.torch.load_file(lora)
    unet = load_unet(resolve(entry(tmp_path / "plain", f"base: {folder}\n")), torch.float32).unet
    renamed = {}
    for name, _ in unet.named_modules():
        stem = f"lora_unet_{name.replace('.', '_')}"
        if f"{stem}.lora_up.weight" in kohya:
            renamed[f"unet.{name}.lora_A.weight"] = kohya[f"{stem}.lora_down.weight"]
            # This layout has no alpha of its own: its factor is 1.
            renamed[f"unet.{name}.lora_B.weight"] = (
                kohya[f"{stem}.lora_up.weight"] * ALPHA / LORA_RANK
            )
    safetensors.torch.save_file(renamed, tmp_path / "renamed.safetensors")

    one = load_unet(fused(folder, lora, 1.0), torch.float32).unet.state_dict()
    other = load_unet(fused(folder, tmp_path / "renamed.safetensors", 1.0), torch.float32).unet
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(weight, one[name], rtol=1e-4, atol=1e-6)


def test_half_precision_is_of_the_sum(folder: Path, lora: Path) -> None:
    """Adding in bfloat16 would lose what a LoRA adds to a large weight."""
    model = fused(folder, lora, 1.0)
    whole = load_unet(model, torch.float32).unet.state_dict()
    half = load_unet(model, torch.bfloat16).unet.state_dict()

    assert all(torch.equal(half[name], whole[name].to(torch.bfloat16)) for name in whole)
    cpu = torch.device("cpu")
    assert UNetRunner.load(model, dtype=torch.bfloat16, device=cpu).time_rows(1, 8, 8) > 0


def test_file_and_scale_count_in_the_digest(folder: Path, lora: Path, tmp_path: Path) -> None:
    other = write_random_lora(tmp_path / "other.safetensors", model_dir=folder, seed=2)
    models = [fused(folder, lora, 1.0), fused(folder, lora, 0.5), fused(folder, other, 1.0)]
    digests = {revision(model) for model in models}
    plain = resolve(entry(tmp_path / "plain", f"base: {folder}\n"))

    assert len(digests | {revision(plain)}) == 4
    assert revision(fused(folder, lora, 1.0)) in digests
    assert {model.text_encoder_key for model in models} == {plain.text_encoder_key}


def spoil(lora: Path, target: Path, how: str) -> Path:
    weights = safetensors.torch.load_file(lora)
    stem = next(name for name in weights if name.endswith("attn1_to_q.lora_down.weight"))
    stem = stem.removesuffix(".lora_down.weight")
    if how == "unknown layer":
        for kind in ("lora_down.weight", "lora_up.weight", "alpha"):
            weights[f"lora_unet_down_blocks_7_resnets_0_conv1.{kind}"] = weights[
                f"{stem}.{kind}"
            ].clone()
    elif how == "other width":
        weights[f"{stem}.lora_down.weight"] = torch.zeros(LORA_RANK, 3)
    elif how == "half a pair":
        del weights[f"{stem}.lora_up.weight"]
    else:
        weights = {"conv_in.weight": torch.zeros(3)}
    safetensors.torch.save_file(weights, target)
    return target


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("unknown layer", "lora_unet_down_blocks_7_resnets_0_conv1.alpha"),
        ("other width", "lora_down.weight: shape [4, 3] in place of [4, 64]"),
        ("half a pair", "lacks its other half: up"),
        ("no LoRA", "is a file that Leyden does not recognise"),
    ],
)
def test_a_lora_that_does_not_fit_is_named(
    folder: Path, lora: Path, tmp_path: Path, how: str, said: str
) -> None:
    file = spoil(lora, tmp_path / "spoiled.safetensors", how)
    with pytest.raises(ModelRepositoryError) as caught:
        fused(folder, file, 1.0)
    assert f"{file}: " in str(caught.value)
    assert said in str(caught.value)


def test_a_number_that_is_none_is_named(folder: Path, lora: Path, tmp_path: Path) -> None:
    weights = safetensors.torch.load_file(lora)
    name = next(name for name in weights if name.endswith("conv1.lora_up.weight"))
    weights[name].view(-1)[0] = float("nan")
    file = tmp_path / "nan.safetensors"
    safetensors.torch.save_file(weights, file)
    with pytest.raises(ModelRepositoryError, match="holds NaN or infinity") as caught:
        load_unet(fused(folder, file, 1.0), torch.float32)
    assert f"{file}: {name}: " in str(caught.value)


async def test_two_are_added_each_with_its_own_scale(
    folder: Path, lora: Path, tmp_path: Path
) -> None:
    other = write_random_lora(tmp_path / "other.safetensors", model_dir=folder, seed=2)
    text = f"""base: {folder}
lora:
  - {{path: {lora}, scale: 0.7}}
  - {{path: {other}, scale: -0.4}}
"""
    images = await images_of(resolve(entry(tmp_path / "two", text)))

    one = fused_by_diffusers(tmp_path / "one", folder, lora, 0.7)
    expected = fused_by_diffusers(tmp_path / "expected", one, other, -0.4)
    for image, request in zip(images, REQUESTS, strict=True):
        (reference,) = reference_images(expected, **reference_request(request))
        assert max_difference(image, reference) <= 1


async def test_the_headers_alpha_counts(folder: Path, tmp_path: Path) -> None:
    """What `save_lora_weights` writes where it is given the adapter's metadata."""
    file = saved_by_diffusers(folder, tmp_path / "saved", r=4, lora_alpha=16)
    images = await images_of(fused(folder, file, 1.0))
    expected = fused_by_diffusers(tmp_path / "expected", folder, file, 1.0)
    for image, request in zip(images, REQUESTS, strict=True):
        wanted = reference_request(request)
        (reference,) = reference_images(expected, **wanted)
        assert max_difference(image, reference) <= 1
        assert max_difference(image, reference_images(folder, **wanted)[0]) > 8


def saved_by_diffusers(folder: Path, target: Path, **config: Any) -> Path:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    torch.manual_seed(3)
    pipeline.unet.add_adapter(
        LoraConfig(
            init_lora_weights=False,
            target_modules=["to_q", "to_k", "to_v", "to_out.0"],
            **config,
        )
    )
    for name, parameter in pipeline.unet.named_parameters():
        if "lora_" in name:
            parameter.data.mul_(0.4)
    pipeline.save_lora_weights(
        target,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet)),
        unet_lora_adapter_metadata=pipeline.unet.peft_config["default"].to_dict(),
    )
    return target / "pytorch_lora_weights.safetensors"


def with_text_encoders(lora: Path, target: Path, folder: Path) -> Path:
    """Add layers for both text encoders, each with an alpha of its own, in kohya's names."""
    weights = safetensors.torch.load_file(lora)
    generator = torch.Generator().manual_seed(6)
    for prefix, part in (("lora_te1", "text_encoder"), ("lora_te2", "text_encoder_2")):
        own = safetensors.torch.load_file(folder / part / "model.safetensors")
        for number, (name, weight) in enumerate(sorted(own.items())):
            if "layers.1." not in name or weight.ndim != 2:
                continue
            module = name.removesuffix(".weight").removeprefix("text_model.")
            stem = f"{prefix}_text_model_{module.replace('.', '_')}"
            shapes = {"lora_down": (2, weight.shape[1]), "lora_up": (weight.shape[0], 2)}
            for kind, shape in shapes.items():
                weights[f"{stem}.{kind}.weight"] = torch.randn(shape, generator=generator) * 0.3
            weights[f"{stem}.alpha"] = torch.tensor(float(1 + number % 3))
    safetensors.torch.save_file(weights, target)
    return target


def merged_by_formula(target: Path, folder: Path, file: Path, scale: float) -> Path:
    """Save the folder with W + scale * alpha / rank * up @ down in its text encoders."""
    weights = safetensors.torch.load_file(file)
    for prefix, part in (("lora_te1", "text_encoder"), ("lora_te2", "text_encoder_2")):
        path = target / part / "model.safetensors"
        own = safetensors.torch.load_file(path)
        for name, weight in own.items():
            module = name.removesuffix(".weight").removeprefix("text_model.")
            stem = f"{prefix}_text_model_{module.replace('.', '_')}"
            if f"{stem}.lora_up.weight" in weights:
                up, down = (weights[f"{stem}.lora_{kind}.weight"] for kind in ("up", "down"))
                own[name] = weight + scale * weights[f"{stem}.alpha"] / len(down) * up @ down
        safetensors.torch.save_file(own, path, {"format": "pt"})
    return target


async def test_layers_of_text_encoders_are_applied_or_left_out(
    folder: Path, lora: Path, tmp_path: Path
) -> None:
    """By the formula: diffusers 0.42 does not read such files with transformers 5.23."""
    file = with_text_encoders(lora, tmp_path / "both.safetensors", folder)
    applied = fused(folder, file, 0.8)
    text = f"base: {folder}\nlora: {{path: {file}, scale: 0.8, text_encoder: ignore}}\n"
    ignored = resolve(entry(tmp_path / "ignored", text))
    plain = resolve(entry(tmp_path / "plain", f"base: {folder}\n"))

    assert applied.text_encoder_key != plain.text_encoder_key
    assert ignored.text_encoder_key == plain.text_encoder_key
    assert applied.vae_key == ignored.vae_key == plain.vae_key
    unet_alone = fused_by_diffusers(tmp_path / "unet", folder, lora, 0.8)
    both = merged_by_formula(
        fused_by_diffusers(tmp_path / "both", folder, lora, 0.8), folder, file, 0.8
    )
    for model, expected, other in ((applied, both, unet_alone), (ignored, unet_alone, both)):
        for image, request in zip(await images_of(model), REQUESTS, strict=True):
            wanted = reference_request(request)
            assert max_difference(image, reference_images(expected, **wanted)[0]) <= 1
            assert max_difference(image, reference_images(other, **wanted)[0]) > 8


def test_a_lora_that_is_left_out_whole_is_an_error(
    folder: Path, lora: Path, tmp_path: Path
) -> None:
    file = with_text_encoders(lora, tmp_path / "both.safetensors", folder)
    weights = {n: w for n, w in safetensors.torch.load_file(file).items() if "lora_te" in n}
    safetensors.torch.save_file(weights, file)
    text = f"base: {folder}\nlora: {{path: {file}, text_encoder: ignore}}\n"
    with pytest.raises(ModelRepositoryError, match="ignore leaves them out"):
        resolve(entry(tmp_path / "ignored", text))
