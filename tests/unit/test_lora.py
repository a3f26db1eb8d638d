"""A LoRA is fused as diffusers fuses it, and counts in what identifies the weights."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionXLPipeline
from support.checkpoint_files import LORA_RANK, write_random_lora
from support.model_folders import entry, resolve
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.reference import max_difference, reference_images
from support.stages import TOKENIZER_FROM, Stages, reference_request

from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.denoiser.unet_weights import load_unet, weights_digest
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
    after = load_unet(fused(folder, lora, scale), torch.float32).state_dict()
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
    unet = load_unet(resolve(entry(tmp_path / "plain", f"base: {folder}\n")), torch.float32)
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

    one = load_unet(fused(folder, lora, 1.0), torch.float32).state_dict()
    other = load_unet(fused(folder, tmp_path / "renamed.safetensors", 1.0), torch.float32)
    for name, weight in other.state_dict().items():
        torch.testing.assert_close(weight, one[name], rtol=1e-4, atol=1e-6)


def test_half_precision_is_of_the_sum(folder: Path, lora: Path) -> None:
    """Adding in bfloat16 would lose what a LoRA adds to a large weight."""
    model = fused(folder, lora, 1.0)
    whole = load_unet(model, torch.float32).state_dict()
    half = load_unet(model, torch.bfloat16).state_dict()

    assert all(torch.equal(half[name], whole[name].to(torch.bfloat16)) for name in whole)
    cpu = torch.device("cpu")
    assert UNetRunner.load(model, dtype=torch.bfloat16, device=cpu).time_rows(1, 8, 8) > 0


def test_file_and_scale_count_in_the_digest(folder: Path, lora: Path, tmp_path: Path) -> None:
    other = write_random_lora(tmp_path / "other.safetensors", model_dir=folder, seed=2)
    models = [fused(folder, lora, 1.0), fused(folder, lora, 0.5), fused(folder, other, 1.0)]
    digests = {weights_digest(model) for model in models}
    plain = resolve(entry(tmp_path / "plain", f"base: {folder}\n"))

    assert len(digests | {weights_digest(plain)}) == 4
    assert weights_digest(fused(folder, lora, 1.0)) in digests
    assert {model.base_key for model in models} == {plain.base_key}


def spoil(lora: Path, target: Path, how: str) -> Path:
    weights = safetensors.torch.load_file(lora)
    stem = next(name for name in weights if name.endswith("attn1_to_q.lora_down.weight"))
    stem = stem.removesuffix(".lora_down.weight")
    if how == "text encoder":
        for kind in ("lora_down.weight", "lora_up.weight", "alpha"):
            name = f"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.{kind}"
            weights[name] = weights[f"{stem}.{kind}"].clone()
    elif how == "unknown layer":
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
        ("text encoder", "a LoRA may be for the UNet alone"),
        ("unknown layer", "layers the UNet has"),
        ("other width", "size mismatch"),
        ("half a pair", "lora_up"),
        ("no LoRA", "does not fit"),
    ],
)
def test_a_lora_that_does_not_fit_is_named(
    folder: Path, lora: Path, tmp_path: Path, how: str, said: str
) -> None:
    file = spoil(lora, tmp_path / "spoiled.safetensors", how)
    with pytest.raises(ModelRepositoryError, match=r"the LoRA spoiled\.safetensors") as caught:
        load_unet(fused(folder, file, 1.0), torch.float32)
    assert said in str(caught.value)
