"""SDXL base's own configs, in full size, are let through: what the strict rules must never refuse.

The fields are those of stabilityai/stable-diffusion-xl-base-1.0, as diffusers 0.22 and transformers
4.34 wrote them; stabilityai/sdxl-turbo's differ in what TURBO has.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.model_folders import entry, resolve
from support.stages import TOKENIZER_FROM

from leyden_server.checkpoint.model_plan import layout_of
from leyden_server.checkpoint.sdxl_shape import SDXL_SHAPE
from leyden_server.model_repository.check import check

BY = {"_diffusers_version": "0.22.0.dev0"}
CLIP = {
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "pad_token_id": 1,
    "torch_dtype": "float16",
    "transformers_version": "4.34.0",
    "vocab_size": 49408,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "unet": {
        **BY,
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "addition_embed_type": "text_time",
        "addition_embed_type_num_heads": 64,
        "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20],
        "attention_type": "default",
        "block_out_channels": [320, 640, 1280],
        "center_input_sample": False,
        "class_embed_type": None,
        "class_embeddings_concat": False,
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "cross_attention_dim": 2048,
        "cross_attention_norm": None,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "downsample_padding": 1,
        "dropout": 0.0,
        "dual_cross_attention": False,
        "encoder_hid_dim": None,
        "encoder_hid_dim_type": None,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_only_cross_attention": None,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "num_attention_heads": None,
        "num_class_embeds": None,
        "only_cross_attention": False,
        "out_channels": 4,
        "projection_class_embeddings_input_dim": 2816,
        "resnet_out_scale_factor": 1.0,
        "resnet_skip_time_act": False,
        "resnet_time_scale_shift": "default",
        "sample_size": 128,
        "time_cond_proj_dim": None,
        "time_embedding_act_fn": None,
        "time_embedding_dim": None,
        "time_embedding_type": "positional",
        "timestep_post_act": None,
        "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "upcast_attention": None,
        "use_linear_projection": True,
    },
    "vae": {
        **BY,
        "_class_name": "AutoencoderKL",
        "_name_or_path": "../sdxl-vae/",
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "force_upcast": True,
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 1024,
        "scaling_factor": 0.13025,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    },
    "text_encoder": {
        **CLIP,
        "architectures": ["CLIPTextModel"],
        "hidden_act": "quick_gelu",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "projection_dim": 768,
    },
    "text_encoder_2": {
        **CLIP,
        "architectures": ["CLIPTextModelWithProjection"],
        "hidden_act": "gelu",
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_attention_heads": 20,
        "num_hidden_layers": 32,
        "projection_dim": 1280,
    },
}
SCHEDULER = {
    **BY,
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
TURBO = {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}
INDEX = {
    **BY,
    "_class_name": "StableDiffusionXLPipeline",
    "add_watermarker": None,
    "feature_extractor": [None, None],
    "force_zeros_for_empty_prompt": True,
    "image_encoder": [None, None],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}


def write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def write_folder(folder: Path, scheduler: dict[str, Any]) -> Path:
    """Write a whole folder, whose weight files have a header and no blocks on the disk."""
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    name = scheduler["_class_name"]
    write_json(folder / "model_index.json", {**INDEX, "scheduler": ["diffusers", name]})
    for tokenizer in ("tokenizer", "tokenizer_2"):
        shutil.copytree(TOKENIZER_FROM / tokenizer, folder / tokenizer)
    for part, config in CONFIGS.items():
        write_json(folder / part / "config.json", config)
        header, place = {}, 0
        for parameter in layout_of(part, SDXL_SHAPE[part]).values():
            end = place + 2 * math.prod(parameter.shape)
            offsets = [place, end]
            header[parameter.name] = {
                "dtype": "F16",
                "shape": parameter.shape,
                "data_offsets": offsets,
            }
            place = end
        text = json.dumps(header).encode()
        file = folder / part / f"{STEMS.get(part, 'model')}.fp16.safetensors"
        with file.open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            stream.truncate(8 + len(text) + place)
    return entry(folder, "variant: fp16\n")


@pytest.mark.parametrize("changes", [{}, TURBO], ids=["base", "turbo"])
def test_a_folder_as_published_is_served(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_folder(tmp_path / "sdxl", {**SCHEDULER, **changes})
    report = check(folder)
    assert report.problems == ()
    assert round(report.parameters["unet"] / 1e9, 3) == 2.567

    model = resolve(folder)
    assert (model.width_px, model.latent_channels, model.max_prompt_tokens) == (1024, 4, 77)
    assert model.solvers == (("euler_ancestral",) if changes else ("euler",))


@pytest.mark.parametrize("solver", ["euler", "euler_ancestral", "lcm", "tcd", "dpmpp_2m"])
def test_its_schedule_serves_every_solver(tmp_path: Path, solver: str) -> None:
    folder = write_folder(tmp_path / "sdxl", SCHEDULER)
    text = f"variant: fp16\nnoise_schedule: {{solvers: [{solver}]}}\n"
    assert resolve(entry(folder, text)).solvers == (solver,)
