"""A file is known by its tensors, and what is not served is refused by what it is."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch as st
import torch
from support.checkpoint_files import write_random_lora, write_single_file
from support.model_folders import entry, resolve, rewrite_json, rewrite_scheduler
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM

from leyden_server.checkpoint.recognition import recognise
from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.errors import ModelRepositoryError

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
CONV_IN = {f"{UNET}input_blocks.0.0.weight": (8, 4, 3, 3), f"{UNET}middle_block.0.x": (1,)}
OTHERS: dict[str, tuple[Shapes, str]] = {
    "Stable Diffusion 1": (
        CONV_IN | {"cond_stage_model.transformer.text_model.x": (1,)},
        "a Stable Diffusion 1 checkpoint",
    ),
    "Stable Diffusion 2": (
        CONV_IN | {"cond_stage_model.model.x": (1,)},
        "a Stable Diffusion 2 checkpoint",
    ),
    "a UNet of Stable Diffusion 1": (
        CONV_IN | {f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 768)},
        "a Stable Diffusion 1 UNet",
    ),
    "the refiner": (
        CONV_IN
        | {
            f"{UNET}label_emb.0.0.weight": (8, 2560),
            "conditioner.embedders.0.model.ln_final.weight": (1,),
        },
        "SDXL's refiner checkpoint",
    ),
    "inpainting": (
        {
            f"{UNET}input_blocks.0.0.weight": (8, 9, 3, 3),
            f"{UNET}middle_block.0.x": (1,),
            "conditioner.embedders.0.transformer.text_model.x": (1,),
        },
        "an inpainting checkpoint",
    ),
    "editing": (
        {"conv_in.weight": (8, 8, 3, 3), "down_blocks.0.x": (1,)},
        "an image-editing (InstructPix2Pix) UNet",
    ),
    "EDM": (
        CONV_IN
        | {
            "edm_mean": (1, 4, 1, 1),
            "conditioner.embedders.0.transformer.text_model.x": (1,),
        },
        "an EDM checkpoint",
    ),
    "Stable Diffusion 3": (
        {f"{UNET}joint_blocks.0.context_block.attn.qkv.weight": (3, 1)},
        "a Stable Diffusion 3 model",
    ),
    "FLUX": ({"double_blocks.0.img_attn.qkv.weight": (3, 1)}, "a FLUX model"),
    "a tiny autoencoder": (
        {"decoder.layers.0.weight": (1,), "encoder.layers.0.weight": (1,)},
        "a tiny autoencoder (TAESD)",
    ),
    "a ControlNet": (
        {"controlnet_cond_embedding.conv_in.weight": (1,), "conv_in.weight": (8, 4, 3, 3)},
        "a ControlNet",
    ),
    "an IP-Adapter": ({"image_proj.proj.weight": (1,)}, "an IP-Adapter"),
    "an embedding of Stable Diffusion 1": (
        {"emb_params": (2, 768)},
        "a textual inversion of Stable Diffusion 1 or 2",
    ),
    "half an embedding": ({"clip_l": (2, 768)}, "a textual inversion"),
    "an OFT": ({"oft_unet_down_blocks_0.oft_blocks": (1,)}, "an OFT or BOFT"),
    "something else": ({"foo.bar": (1,)}, "a file that Leyden does not recognise"),
    "nothing": ({}, "an empty file"),
}


def write(file: Path, shapes: Shapes) -> Path:
    st.save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, file)
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recognition") / "base"
    return write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM, seed=3)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("key", ["single_file", "unet", "vae"])
def test_what_is_not_served_is_refused_by_what_it_is(
    base: Path, tmp_path: Path, kind: str, key: str
) -> None:
    shapes, said = OTHERS[kind]
    file = write(tmp_path / "file.safetensors", shapes)
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(entry(tmp_path / "model", f"base: {base}\n{key}: {file}\n"))
    assert f"{file}: is {said}" in str(caught.value)


def test_a_file_under_the_wrong_key_is_told_its_own(base: Path, tmp_path: Path) -> None:
    files = {
        "single_file": write_single_file(tmp_path / "all.safetensors", base),
        "unet": base / "unet" / "diffusion_pytorch_model.safetensors",
        "vae": base / "vae" / "diffusion_pytorch_model.safetensors",
        "lora": write_random_lora(tmp_path / "lora.safetensors", model_dir=base, seed=1),
    }
    for key, file in files.items():
        for other in {"single_file", "unet", "vae"} - {key}:
            with pytest.raises(ModelRepositoryError, match=f"model.yaml takes it as {key}:"):
                resolve(entry(tmp_path / "model", f"base: {base}\n{other}: {file}\n"))


def test_parts_of_sdxl_are_known(base: Path) -> None:
    kinds = {
        folder: recognise(SafetensorsFile.read(next((base / folder).glob("*.safetensors")))).kind
        for folder in ("unet", "vae", "text_encoder_2")
    }
    assert kinds == {"unet": "unet", "vae": "vae", "text_encoder_2": "text_encoder"}


CONFIGS: dict[str, tuple[str, dict[str, object], str]] = {
    "an inpainting UNet": ("unet", {"in_channels": 9}, "an inpainting UNet"),
    "an editing UNet": ("unet", {"in_channels": 8}, "a UNet that edits images"),
    "another family": ("unet", {"addition_embed_type": None}, "it is not SDXL's"),
    "an unknown field": ("unet", {"use_magic": True}, "use_magic: Leyden does not know this"),
    "a near miss": ("unet", {"norm_epz": 1}, "the nearest known one is 'norm_eps'"),
    "another structure": ("unet", {"class_embed_type": "timestep"}, "class_embed_type: null"),
    "too few blocks": ("unet", {"up_block_types": ["UpBlock2D"]}, "one for each of the 2"),
    "a quantised UNet": (
        "unet",
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        "quantised (bitsandbytes)",
    ),
    "a tiny autoencoder": ("vae", {"_class_name": "AutoencoderTiny"}, "a tiny autoencoder (TAESD)"),
    "a shifted VAE": ("vae", {"shift_factor": 0.1159}, "shift_factor: null"),
    "another encoder": ("text_encoder", {"model_type": "t5"}, 'model_type: "clip_text_model"'),
    "a quantised encoder": (
        "text_encoder_2",
        {"quantization_config": {"quant_method": "torchao"}},
        "quantised (torchao)",
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_that_is_not_served_is_named(folder: Path, kind: str) -> None:
    part, changes, said = CONFIGS[kind]
    path = folder / part / "config.json"
    changed = {name: value for name, value in changes.items() if value is not None}
    removed = {name: None for name in changes if name not in changed}
    rewrite_json(path, **changed, **removed)
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(folder)
    assert f"{path}: " in str(caught.value)
    assert said in str(caught.value)


SCHEDULERS: dict[str, tuple[dict[str, object], str]] = {
    "EDM": (
        {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5},
        "an EDM model (Playground v2.5 is one)",
    ),
    "another class": ({"_class_name": "UniPCMultistepScheduler"}, "UniPCMultistepScheduler"),
    "another order": (
        {"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3},
        "solver_order: 2 is served",
    ),
    "sigmas by scipy": ({"use_beta_sigmas": True}, "use_beta_sigmas: false"),
    "an end that is not zero": (
        {"final_sigmas_type": "sigma_min"},
        'final_sigmas_type: "zero" is served',
    ),
    "clipping": ({"clip_sample": True}, "clip_sample: false is served"),
    "an unknown field": ({"use_warp": 3}, "use_warp: Leyden does not know"),
    "what ancestral steps do not read": (
        {"_class_name": "EulerAncestralDiscreteScheduler", "use_karras_sigmas": True},
        "use_karras_sigmas: false",
    ),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_that_is_not_served_is_named(folder: Path, kind: str) -> None:
    changes, said = SCHEDULERS[kind]
    path = rewrite_scheduler(folder, **changes)
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(folder)
    assert f"{path}: " in str(caught.value)
    assert said in str(caught.value)


def test_an_index_and_a_config_that_differ_are_refused(folder: Path) -> None:
    """diffusers goes by the index, whoever edits the config by the config."""
    rewrite_json(folder / "model_index.json", scheduler=["diffusers", "LCMScheduler"])
    with pytest.raises(ModelRepositoryError, match=r"model_index\.json has LCMScheduler"):
        resolve(folder)
    entry(folder, "noise_schedule: {solvers: [euler]}")
    resolve(folder)


def test_the_refiners_folder_is_refused_by_what_it_is(folder: Path) -> None:
    rewrite_json(folder / "model_index.json", text_encoder=[None, None])
    with pytest.raises(ModelRepositoryError, match="is SDXL's refiner"):
        resolve(folder)


def test_published_scheduler_fields_of_others_are_let_through(folder: Path) -> None:
    """SDXL base 1.0's scheduler_config.json has them."""
    rewrite_json(
        folder / "scheduler" / "scheduler_config.json",
        clip_sample=False,
        sample_max_value=1.0,
        set_alpha_to_one=False,
        skip_prk_steps=True,
    )
    resolve(folder)
