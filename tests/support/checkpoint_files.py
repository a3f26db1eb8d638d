"""Rewrites random SDXL folders in the layouts that checkpoints are published in.

The names are those of the published files: an all-in-one file as ComfyUI reads it, LoRAs as
kohya's trainer writes them, tokenizers as vocab.json and merges.txt, weights in shards.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel

Weights = dict[str, torch.Tensor]

SHARD_BYTES = 1_000_000
LORA_RANK = 4
UNTOUCHED_BY_LORA = ("conv_in", "conv_out", "time_embedding", "add_embedding")
"""What SDXL-Lightning's LoRAs leave alone (arXiv 2402.13929, section 4)."""


def write_tokenizers_as_published(folder: Path) -> None:
    """Replace each tokenizer.json by vocab.json, merges.txt and special_tokens_map.json."""
    for name in ("tokenizer", "tokenizer_2"):
        whole = folder / name / "tokenizer.json"
        model = json.loads(whole.read_text(encoding="utf-8"))["model"]
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        text = "\n".join(["#version: 0.2", *merges, ""])
        (folder / name / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        (folder / name / "merges.txt").write_text(text, encoding="utf-8")
        config = json.loads((folder / name / "tokenizer_config.json").read_text(encoding="utf-8"))
        special = {k: config[k] for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
        (folder / name / "special_tokens_map.json").write_text(json.dumps(special), "utf-8")
        whole.unlink()


def write_variant(folder: Path, source: Path, variant: str, dtype: torch.dtype) -> Path:
    """Copy a folder; its weights become `dtype` and carry the variant in their names."""
    shutil.copytree(source, folder)
    for file in folder.glob("*/*.safetensors"):
        weights = safetensors.torch.load_file(file)
        converted = {name: tensor.to(dtype) for name, tensor in weights.items()}
        target = file.with_name(f"{file.stem}.{variant}.safetensors")
        safetensors.torch.save_file(converted, target, {"format": "pt"})
        file.unlink()
    return folder


def write_sharded(folder: Path, source: Path, variant: str | None = None) -> Path:
    """Copy a folder; UNet, VAE and text encoders come in shards with an index."""
    shutil.copytree(source, folder)
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        source, use_safetensors=True, add_watermarker=False
    )
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        for file in (folder / part).glob("*.safetensors"):
            file.unlink()
        module = getattr(pipeline, part)
        module.save_pretrained(folder / part, max_shard_size=SHARD_BYTES, variant=variant)
    return folder


def write_single_file(file: Path, source: Path) -> Path:
    """Write the weights of a folder as one checkpoint in the original SDXL layout."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        source, use_safetensors=True, add_watermarker=False
    )
    first = {
        f"transformer.text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in pipeline.text_encoder.state_dict().items()
    }
    second = _open_clip(pipeline.text_encoder_2.state_dict())
    parts: Mapping[str, Weights] = {
        "model.diffusion_model.": _original_unet(pipeline.unet),
        "first_stage_model.": _original_vae(pipeline.vae),
        "conditioner.embedders.0.": first,
        "conditioner.embedders.1.model.": second,
    }
    weights = {
        prefix + name: tensor.contiguous()
        for prefix, part in parts.items()
        for name, tensor in part.items()
    }
    safetensors.torch.save_file(weights, file)
    return file


def write_random_lora(
    file: Path, *, model_dir: Path, seed: int, strength: float = 0.15, alpha: float = 2.0
) -> Path:
    """Write a LoRA for a folder's UNet with kohya's names, on every linear and convolution.

    At scale 1 each weight changes by about `strength` of its own deviation.
    """
    unet = UNet2DConditionModel.from_pretrained(model_dir / "unet", use_safetensors=True)
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, module in unet.named_modules():
        if not isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            continue
        if name.startswith(UNTOUCHED_BY_LORA):
            continue
        out, into, *kernel = module.weight.shape
        down = torch.randn(LORA_RANK, into, *kernel, generator=generator)
        up = torch.randn(out, LORA_RANK, *(1 for _ in kernel), generator=generator)
        product = alpha / LORA_RANK * LORA_RANK**0.5
        up *= strength * module.weight.detach().std() / product
        stem = f"lora_unet_{name.replace('.', '_')}"
        weights[f"{stem}.lora_down.weight"] = down
        weights[f"{stem}.lora_up.weight"] = up
        weights[f"{stem}.alpha"] = torch.tensor(alpha)
    safetensors.torch.save_file(weights, file)
    return file


def _original_unet(unet: UNet2DConditionModel) -> Weights:
    """Name the UNet's weights as Stability's `generative-models` does."""
    rows = unet.config.layers_per_block + 1
    return {
        _original_unet_name(name, rows, unet): tensor for name, tensor in unet.state_dict().items()
    }


def _original_unet_name(name: str, rows: int, unet: UNet2DConditionModel) -> str:
    plain = {
        "conv_in.": "input_blocks.0.0.",
        "time_embedding.linear_1.": "time_embed.0.",
        "time_embedding.linear_2.": "time_embed.2.",
        "add_embedding.linear_1.": "label_emb.0.0.",
        "add_embedding.linear_2.": "label_emb.0.2.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
        "mid_block.resnets.0.": "middle_block.0.",
        "mid_block.attentions.0.": "middle_block.1.",
        "mid_block.resnets.1.": "middle_block.2.",
    }
    for ours, theirs in plain.items():
        if name.startswith(ours):
            return _original_resnet(theirs + name.removeprefix(ours), "resnets" in ours)
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    assert match is not None, name
    way, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    stem = "input_blocks" if way == "down" else "output_blocks"
    row = block * rows + layer + (way == "down")
    if kind == "downsamplers":
        return f"{stem}.{(block + 1) * rows}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        place = 2 if hasattr(unet.up_blocks[block], "attentions") else 1
        return f"{stem}.{(block + 1) * rows - 1}.{place}.{rest}"
    place = 0 if kind == "resnets" else 1
    return _original_resnet(f"{stem}.{row}.{place}.{rest}", kind == "resnets")


def _original_resnet(name: str, is_resnet: bool) -> str:
    names = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    for ours, theirs in names.items() if is_resnet else ():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def _original_vae(vae: AutoencoderKL) -> Weights:
    blocks = len(vae.config.block_out_channels)
    original = {}
    for name, tensor in vae.state_dict().items():
        theirs = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        theirs = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", theirs)
        theirs = re.sub(
            r"up_blocks\.(\d+)\.(resnets|upsamplers\.0)",
            lambda m: f"up.{blocks - 1 - int(m[1])}.{'block' if m[2] == 'resnets' else 'upsample'}",
            theirs,
        )
        theirs = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", theirs)
        theirs = theirs.replace("mid_block.attentions.0", "mid.attn_1")
        attention = {
            "group_norm": "norm",
            "to_q": "q",
            "to_k": "k",
            "to_v": "v",
            "to_out.0": "proj_out",
        }
        for ours, short in attention.items() if "attn_1" in theirs else ():
            theirs = theirs.replace(f".{ours}.", f".{short}.")
        theirs = theirs.replace("conv_norm_out", "norm_out").replace(
            "conv_shortcut", "nin_shortcut"
        )
        # The original's attention is of 1 x 1 convolutions.
        is_projection = "attn_1" in theirs and tensor.ndim == 2
        original[theirs] = tensor[:, :, None, None] if is_projection else tensor
    return original


def _open_clip(weights: Weights) -> Weights:
    """Name a `CLIPTextModelWithProjection`'s weights as OpenCLIP does."""
    names = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    original = {theirs: weights[ours] for ours, theirs in names.items()}
    original["text_projection"] = weights["text_projection.weight"].T
    layers = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for name, tensor in weights.items():
        match = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if match is None:
            continue
        stem = f"transformer.resblocks.{match[1]}"
        if match[2] in layers:
            original[f"{stem}.{layers[match[2]]}.{match[3]}"] = tensor
        elif match[2] == "self_attn.q_proj":
            three = [weights[name.replace("q_proj", f"{which}_proj")] for which in "qkv"]
            original[f"{stem}.attn.in_proj_{match[3]}"] = torch.cat(three)
    return original


def rewrite(base: Path, folder: Path, file: str, change: Callable[[Weights], Any]) -> Path:
    """Copy a folder, change the weights of one of its files, and return that file."""
    shutil.copytree(base, folder)
    weights = safetensors.torch.load_file(folder / file)
    change(weights)
    safetensors.torch.save_file(weights, folder / file, {"format": "pt"})
    return folder / file
