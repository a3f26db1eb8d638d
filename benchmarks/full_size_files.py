"""Writes a full-size SDXL checkpoint and LoRAs for it, of random float16 numbers."""

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.on_gpu.architecture import TOKENS, Architecture
from leyden_server.checkpoint.layout import Layout, Parameter
from leyden_server.checkpoint.model_plan import IN_CHECKPOINT, layout_of
from leyden_server.model_repository.repository import SHIPPED_MODELS

__all__ = ["write_base", "write_checkpoint", "write_lora"]

CLASSES = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
}
TOKENIZERS = ("tokenizer", "tokenizer_2")
RANK, ALPHA = 16, 8.0
SPREAD = 0.02
"""Standard deviation of the weights: images are noise, numbers stay finite."""

Header = dict[str, dict[str, Any]]


def write_base(folder: Path, architecture: Architecture) -> Path:
    """Write configs and tokenizers of a diffusers folder, without weights."""
    tiny = SHIPPED_MODELS / "leyden-tiny-base"
    configs = asdict(architecture)
    for part, (_, name) in CLASSES.items():
        named = (
            {"model_type": "clip_text_model", "max_position_embeddings": TOKENS}
            if part.startswith("text")
            else {"_class_name": name}
        )
        config = {**configs[part], **named}
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name in (*TOKENIZERS, "scheduler"):
        shutil.copytree(tiny / name, folder / name)
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        **{name: ["transformers", "CLIPTokenizer"] for name in TOKENIZERS},
        **{part: list(of) for part, of in CLASSES.items()},
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def write_checkpoint(file: Path, architecture: Architecture) -> Path:
    """Write all parts as one file in the original layout."""
    configs = asdict(architecture)
    shapes: dict[str, tuple[int, ...]] = {}
    for part in CLASSES:
        scheme = IN_CHECKPOINT[part][0]
        for parameter in layout_of(part, configs[part] | {"mid_block_type": MIDDLE}).values():
            shape = parameter.original_shape if scheme.original else parameter.shape
            shapes[scheme.name(parameter)] = shape
    _write(file, shapes, seed=0)
    return file


MIDDLE = "UNetMidBlock2DCrossAttn"


def write_lora(file: Path, architecture: Architecture, *, seed: int) -> Path:
    """Write a LoRA for every attention and feed-forward layer of the UNet, in kohya's names."""
    layout = layout_of("unet", asdict(architecture)["unet"] | {"mid_block_type": MIDDLE})
    shapes: dict[str, tuple[int, ...]] = {}
    for parameter in _linears(layout):
        stem = f"lora_unet_{parameter.name.removesuffix('.weight').replace('.', '_')}"
        out, into = parameter.shape
        shapes[f"{stem}.lora_down.weight"] = (RANK, into)
        shapes[f"{stem}.lora_up.weight"] = (out, RANK)
        shapes[f"{stem}.alpha"] = ()
    _write(file, shapes, seed=seed)
    return file


def _linears(layout: Layout) -> Iterable[Parameter]:
    for parameter in layout.values():
        if ".transformer_blocks." in parameter.name and len(parameter.shape) == 2:
            yield parameter


def _write(file: Path, shapes: dict[str, tuple[int, ...]], *, seed: int) -> None:
    header: Header = {}
    place = 0
    for name, shape in shapes.items():
        end = place + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    generator = np.random.default_rng(seed)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            if name.endswith(".alpha"):
                numbers = np.array(ALPHA, dtype=np.float16)
            else:
                drawn = generator.standard_normal(math.prod(shape), dtype=np.float32)
                # Norms multiply by about 1.
                about = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                numbers = (drawn * SPREAD + about).astype(np.float16)
            stream.write(numbers.tobytes())
