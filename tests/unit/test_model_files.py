"""Every kind of weight file that is served gives diffusers' pixels, alone and among others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch as st
import torch
from support.checkpoint_files import Weights, rewrite, write_single_file
from support.model_folders import entry, resolve, revision, rewrite_json
from support.pixels import assert_like_diffusers, request
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.stages import TOKENIZER_FROM

from leyden_server.errors import ModelRepositoryError

UNET = "model.diffusion_model."
VAE = "first_stage_model."
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"
EIGHT = [
    request(number, 2 + number % 3, 2.0 if number % 2 else 0.0, negative_prompt="fog")
    for number in range(8)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_sdxl(
        tmp_path_factory.mktemp("files") / "base",
        tokenizer_from=TOKENIZER_FROM,
        seed=13,
        block_out_channels=(32, 64, 64),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
        mid_block_add_attention=True,
    )


@pytest.fixture(scope="module")
def whole(base: Path) -> Weights:
    """The base as an all-in-one file has it."""
    return dict(st.load_file(write_single_file(base.parent / "whole.safetensors", base)))


Kind = Callable[[Path, Path, Weights], tuple[str, Path]]
"""Writes files into a folder; returns a model.yaml, and the folder that diffusers is to load."""


def half_folder(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    return "base: ../half", with_weights(folder / "half", base, lambda w: w.half())


def brain_folder(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    return "base: ../brain", with_weights(folder / "brain", base, lambda w: w.bfloat16())


def mixed_variants(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    expected = with_weights(folder / "mixed", base, lambda w: w)
    for part in ("unet", "text_encoder"):
        for file in (expected / part).glob("*.safetensors"):
            file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    return "base: ../mixed\nvariant: fp16", base


def with_leftovers(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    clip = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"
    ema = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): value * 2
        for name, value in whole.items()
        if name.startswith(UNET)
    }
    more = {
        clip: torch.arange(77)[None],
        "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6),
        "conditioner.embedders.0.transformer.text_projection.weight": torch.ones(32, 32),
        "denoiser.sigmas": torch.linspace(0.03, 14.6, 1000),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(7),
    }
    st.save_file({**whole, **ema, **more}, folder / "all.safetensors")
    return single("all"), base


def plain_float8(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    eight = {
        name: value.to(torch.float8_e4m3fn) if name.startswith(UNET) else value
        for name, value in whole.items()
    }
    st.save_file(eight, folder / "all.safetensors")
    return single("all"), with_weights(
        folder / "expected", base, lambda w: w.to(torch.float8_e4m3fn).float(), parts=("unet",)
    )


def scaled_float8(
    scale_name: str, *, rows: bool = False, kind: torch.dtype = torch.float8_e4m3fn
) -> Kind:
    """Linear weights in float8 with a scale beside each, in one of the layouts in use."""
    most = torch.finfo(kind).max

    def scale_of(weight: torch.Tensor) -> torch.Tensor:
        return (weight.abs().amax(1, keepdim=True) if rows else weight.abs().max()[None]) / most

    def rounded(weight: torch.Tensor) -> torch.Tensor:
        scale = scale_of(weight)
        return (weight / scale).to(kind).float() * scale

    def write(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
        weights: Weights = {}
        for name, value in whole.items():
            weights[name] = value
            if not is_scaled(name.removeprefix(UNET), value) or not name.startswith(UNET):
                continue
            stem = name.removesuffix("weight")
            weights[name] = (value / scale_of(value)).to(kind)
            weights[stem + scale_name] = scale_of(value)
            if scale_name == "scale_weight":
                weights[stem + "scale_input"] = torch.ones(1)
            else:
                form = {torch.float8_e4m3fn: "float8_e4m3fn", torch.float8_e5m2: "float8_e5m2"}
                text = json.dumps({"format": form[kind]}).encode()
                weights[stem + "comfy_quant"] = torch.tensor(list(text), dtype=torch.uint8)
        if scale_name == "scale_weight":
            weights[UNET + "scaled_fp8"] = torch.zeros(2).to(kind)
        layers = {"layers": {UNET + "out": {"format": "float8_e4m3fn"}}}
        metadata = {"format": "pt", "_quantization_metadata": json.dumps(layers)}
        st.save_file(weights, folder / "all.safetensors", metadata)
        return single("all"), with_weights(
            folder / "expected", base, rounded, parts=("unet",), only=is_scaled
        )

    return write


def is_scaled(name: str, value: torch.Tensor) -> bool:
    return value.ndim == 2 and name.endswith(".weight")


def original_unet(prefix: str) -> Kind:
    def write(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
        names = {
            prefix + name.removeprefix(UNET): value * 0.9
            for name, value in whole.items()
            if name.startswith(UNET)
        }
        st.save_file(names, folder / "unet.safetensors")
        expected = with_weights(folder / "expected", base, lambda w: w * 0.9, parts=("unet",))
        return "base: ../base\nunet: ../unet.safetensors", expected

    return write


def diffusers_unet(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    file = write_random_unet_file(folder / "unet.safetensors", model_dir=base, seed=4)
    expected = Path(shutil.copytree(base, folder / "expected"))
    shutil.copy(file, expected / UNET_FILE)
    return "base: ../base\nunet: ../unet.safetensors", expected


def vae_beside(of: str) -> Kind:
    """A VAE file over an all-in-one file, by the original names or by diffusers'."""

    def write(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
        st.save_file(whole, folder / "all.safetensors")
        expected = with_weights(
            folder / "expected", base, lambda w: w * 0.95, parts=("vae",), only=is_of_decoder
        )
        if of == "diffusers":
            shutil.copy(
                expected / "vae" / "diffusion_pytorch_model.safetensors",
                folder / "vae.safetensors",
            )
        else:
            prefix = VAE if of == "an all-in-one file" else ""
            weights = {
                prefix + name.removeprefix(VAE): value * 0.95
                if is_of_decoder(name.removeprefix(VAE), value)
                else value
                for name, value in whole.items()
                if name.startswith(VAE)
            }
            st.save_file(weights, folder / "vae.safetensors")
        return f"{single('all')}\nvae: ../vae.safetensors", expected

    return write


def old_vae(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    """A folder whose VAE was written before diffusers 0.17."""
    expected = with_weights(folder / "old", base, lambda w: w, parts=())
    file = expected / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in st.load_file(file).items():
        for today, before in names.items():
            name = name.replace(f".{today}.", f".{before}.")  # noqa: PLW2901
        weights[name] = value
    assert weights.keys() - st.load_file(file).keys()
    st.save_file(weights, file, {"format": "pt"})
    return "base: ../old", expected


def is_of_decoder(name: str, value: torch.Tensor) -> bool:
    return name.startswith("decoder.conv_out")


def marked(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    st.save_file({**whole, **marks}, folder / "all.safetensors")
    return single("all"), with_schedule(folder, base)


def said_in_model_yaml(folder: Path, base: Path, whole: Weights) -> tuple[str, Path]:
    said = "noise_schedule: {prediction_type: v_prediction, rescale_betas_zero_snr: true}"
    return f"base: ../base\n{said}", with_schedule(folder, base)


SERVED: dict[str, Kind] = {
    "a float16 folder": half_folder,
    "a bfloat16 folder": brain_folder,
    "variants of some parts": mixed_variants,
    "an all-in-one file with leftovers": with_leftovers,
    "plain float8": plain_float8,
    "float8 with scale_weight": scaled_float8("scale_weight"),
    "float8 with weight_scale": scaled_float8("weight_scale"),
    "float8 with a scale a row": scaled_float8("weight_scale", rows=True),
    "float8 e5m2 with scales": scaled_float8("weight_scale", kind=torch.float8_e5m2),
    "a UNet by diffusers' names": diffusers_unet,
    "a UNet by the original names": original_unet(""),
    "a UNet by the original names with a short prefix": original_unet("diffusion_model."),
    "a UNet by the original names with the prefix": original_unet(UNET),
    "a VAE by diffusers' names": vae_beside("diffusers"),
    "a VAE by the original names": vae_beside("the original"),
    "a VAE as an all-in-one file has it": vae_beside("an all-in-one file"),
    "a VAE by diffusers' old names": old_vae,
    "marked as v-prediction with zero SNR": marked,
    "v-prediction with zero SNR by model.yaml": said_in_model_yaml,
}


@pytest.mark.parametrize("kind", SERVED)
async def test_pixels_are_diffusers(kind: str, base: Path, whole: Weights, tmp_path: Path) -> None:
    (tmp_path / "base").symlink_to(base)
    text, expected = SERVED[kind](tmp_path, base, whole)
    model = resolve(entry(tmp_path / "model", text))
    await assert_like_diffusers(model, [request(1, 4, 0.0)], expected)
    await assert_like_diffusers(model, EIGHT, expected)


def single(name: str) -> str:
    return f"base: ../base\nsingle_file: ../{name}.safetensors"


def with_weights(
    folder: Path,
    base: Path,
    change: Callable[[torch.Tensor], torch.Tensor],
    *,
    parts: tuple[str, ...] = ("unet", "vae", "text_encoder", "text_encoder_2"),
    only: Callable[[str, torch.Tensor], bool] = lambda _name, _value: True,
) -> Path:
    """Copy the base; weights of `parts` are changed."""
    shutil.copytree(base, folder)
    for part in parts:
        for file in (folder / part).glob("*.safetensors"):
            weights = {
                name: change(value).contiguous() if only(name, value) else value
                for name, value in st.load_file(file).items()
            }
            st.save_file(weights, file, {"format": "pt"})
    return folder


def with_schedule(folder: Path, base: Path) -> Path:
    expected = Path(shutil.copytree(base, folder / "expected"))
    rewrite_json(
        expected / "scheduler" / "scheduler_config.json",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
    )
    return expected


@pytest.mark.parametrize("where", ["beside the weight", "in the header"])
def test_another_format_of_quantised_weights_is_named(
    base: Path, whole: Weights, tmp_path: Path, where: str
) -> None:
    (tmp_path / "base").symlink_to(base)
    layer = f"{UNET}middle_block.1.proj_in"
    metadata, beside = {}, {}
    if where == "in the header":
        layers = {"layers": {layer: {"format": "nvfp4"}}}
        metadata = {"_quantization_metadata": json.dumps(layers)}
    else:
        text = json.dumps({"format": "nvfp4"}).encode()
        beside = {f"{layer}.comfy_quant": torch.tensor(list(text), dtype=torch.uint8)}
    st.save_file({**whole, **beside}, tmp_path / "all.safetensors", metadata)
    with pytest.raises(ModelRepositoryError, match="weights quantised as 'nvfp4'") as caught:
        resolve(entry(tmp_path / "model", single("all")))
    assert layer in str(caught.value)


def test_integers_are_no_weights(base: Path, tmp_path: Path) -> None:
    def quantise(weights: Weights) -> None:
        weights["conv_out.weight"] = torch.ones(weights["conv_out.weight"].shape, dtype=torch.int8)

    file = rewrite(base, tmp_path / "model", UNET_FILE, quantise)
    with pytest.raises(ModelRepositoryError, match="I8, a quantised weight") as caught:
        resolve(tmp_path / "model")
    assert f"{file}: " in str(caught.value)


def test_model_yaml_against_a_mark_is_an_error(base: Path, whole: Weights, tmp_path: Path) -> None:
    (tmp_path / "base").symlink_to(base)
    marked(tmp_path, base, whole)
    text = f"{single('all')}\nnoise_schedule: {{prediction_type: epsilon}}"
    with pytest.raises(ModelRepositoryError, match="marked v_pred, which is prediction_type: v_pr"):
        resolve(entry(tmp_path / "model", text))


def test_the_revision_of_an_all_in_one_file_is_of_its_unet(
    base: Path, whole: Weights, tmp_path: Path
) -> None:
    (tmp_path / "base").symlink_to(base)
    st.save_file(whole, tmp_path / "all.safetensors")
    changed = {name: value * 2 if name.startswith(VAE) else value for name, value in whole.items()}
    st.save_file(changed, tmp_path / "other.safetensors")
    one, other = (
        resolve(entry(tmp_path / f"of-{name}", single(name))) for name in ("all", "other")
    )
    assert revision(one) == revision(other)
    changed[f"{UNET}out.2.bias"] = changed[f"{UNET}out.2.bias"] + 1
    st.save_file(changed, tmp_path / "other.safetensors")
    assert revision(one) != revision(other)
