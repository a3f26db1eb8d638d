"""Checkpoints of the shipped SDXL entries, random and tiny, in a hub cache as published.

Names, formats and folders are the published ones.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from diffusers import StableDiffusionXLPipeline
from support.checkpoint_files import (
    write_random_lora,
    write_tokenizers_as_published,
    write_variant,
)
from support.model_folders import rewrite_json, rewrite_scheduler
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.stages import TOKENIZER_FROM

__all__ = ["LIGHTNING_FILES", "LORAS", "UNETS", "EntryCheckpoints", "write_entry_checkpoints"]

LIGHTNING_FILES = {
    1: "sdxl_lightning_1step_unet_x0.safetensors",
    2: "sdxl_lightning_2step_unet.safetensors",
    4: "sdxl_lightning_4step_unet.safetensors",
    8: "sdxl_lightning_8step_unet.safetensors",
}
UNETS = {
    **{
        f"sdxl-lightning-{steps}step": ("ByteDance/SDXL-Lightning", file)
        for steps, file in LIGHTNING_FILES.items()
    },
    "hyper-sd-1step": ("ByteDance/Hyper-SD", "Hyper-SDXL-1step-Unet.safetensors"),
    "lcm-sdxl": ("latent-consistency/lcm-sdxl", "diffusion_pytorch_model.fp16.safetensors"),
    "sdxl-dmd2-4step": ("tianweiy/DMD2", "dmd2_sdxl_4step_unet_fp16.safetensors"),
}
"""By entry, the repository and the UNet's file."""
LORAS = {
    **{
        f"hyper-sd-{steps}step": ("ByteDance/Hyper-SD", f"Hyper-SDXL-{steps}steps-lora.safetensors")
        for steps in (2, 4, 8)
    },
    "hyper-sd-unified": ("ByteDance/Hyper-SD", "Hyper-SDXL-1step-lora.safetensors"),
    "lcm-lora-sdxl": ("latent-consistency/lcm-lora-sdxl", "pytorch_lora_weights.safetensors"),
}
"""By entry, the repository and the LoRA's file."""
GUIDANCE_EMBEDDING = 256
"""`time_cond_proj_dim` of LCM-SDXL."""


@dataclass(frozen=True)
class EntryCheckpoints:
    """What stock diffusers loads, and the hub cache that holds the same weights."""

    cache: Path
    base: Path
    turbo: Path
    lcm_sdxl: Path
    """The base's folder with LCM-SDXL's UNet: its config has more than a file can say."""
    unets: Mapping[str, Path]
    """By entry, its UNet's file over the base, a LoRA's as diffusers fuses it."""


def write_entry_checkpoints(root: Path) -> EntryCheckpoints:
    # Half precision, as the fp16 variants are; SDXL base's scheduler has leading spacing.
    base = write_random_sdxl(
        root / "base",
        tokenizer_from=TOKENIZER_FROM,
        seed=11,
        dtype=torch.float16,
        scheduler_overrides={"timestep_spacing": "leading"},
    )
    # Of other schedulers, as published: Euler's does not read them, DDIM's does.
    rewrite_scheduler(base, clip_sample=False, set_alpha_to_one=False, skip_prk_steps=True)
    turbo = write_random_sdxl(
        root / "turbo",
        tokenizer_from=TOKENIZER_FROM,
        seed=12,
        dtype=torch.float16,
        scheduler_class="EulerAncestralDiscreteScheduler",
    )
    for folder, sample_size in ((base, 128), (turbo, 64)):
        rewrite_json(folder / "unet" / "config.json", sample_size=sample_size)
    cache = root / "hub"
    for repo, folder in (("stable-diffusion-xl-base-1.0", base), ("sdxl-turbo", turbo)):
        snapshot = _snapshot(cache, f"stabilityai/{repo}")
        write_variant(snapshot, folder, "fp16", torch.float16)
        write_tokenizers_as_published(snapshot)
    unets = {
        name: write_random_unet_file(
            _file(cache, *source),
            model_dir=base,
            seed=number,
            time_cond_proj_dim=GUIDANCE_EMBEDDING if name == "lcm-sdxl" else None,
        )
        for number, (name, source) in enumerate(UNETS.items(), start=1)
    }
    for number, (name, source) in enumerate(LORAS.items(), start=1):
        lora = write_random_lora(_file(cache, *source), model_dir=base, seed=number)
        unets[name] = _fused(root / f"{name}.safetensors", base, lora)
    return EntryCheckpoints(cache, base, turbo, _lcm_sdxl(root, base, unets["lcm-sdxl"]), unets)


def _file(cache: Path, repo: str, file: str) -> Path:
    snapshot = _snapshot(cache, repo)
    snapshot.mkdir(exist_ok=True)
    return snapshot / file


def _snapshot(cache: Path, repo: str) -> Path:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    (folder / "snapshots").mkdir(exist_ok=True)
    return folder / "snapshots" / commit


def _fused(file: Path, base: Path, lora: Path) -> Path:
    """Write the base's UNet with a LoRA, as `fuse_lora()` without a scale leaves it."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    pipeline.load_lora_weights(str(lora))
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    safetensors.torch.save_file(pipeline.unet.state_dict(), file)
    return file


def _lcm_sdxl(root: Path, base: Path, unet: Path) -> Path:
    folder = shutil.copytree(base, root / "lcm-sdxl")
    rewrite_json(folder / "unet" / "config.json", time_cond_proj_dim=GUIDANCE_EMBEDDING)
    shutil.copy(unet, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder
