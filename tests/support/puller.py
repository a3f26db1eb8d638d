"""What the tests of `leyden models pull` share: repositories as published, and the command."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from support.checkpoint_files import (
    write_random_lora,
    write_single_file,
    write_tokenizers_as_published,
    write_variant,
)
from support.entry_checkpoints import LIGHTNING_FILES
from support.patience import PATIENCE_S
from support.random_sdxl import write_random_unet_file

import leyden_client

BASE_REPO = "stabilityai/stable-diffusion-xl-base-1.0"
LIGHTNING_REPO = "ByteDance/SDXL-Lightning"
FOUR_STEPS = LIGHTNING_FILES[4]
ONE_STEP = LIGHTNING_FILES[1]


@dataclass(frozen=True)
class Published:
    """Folders as the hub has them."""

    plain: Path
    base: Path
    lightning: Path


def write_published(root: Path, source: Path) -> Published:
    """Write what the hub has of SDXL and SDXL-Lightning, with a tiny folder's weights."""
    plain = root / "plain"
    shutil.copytree(source, plain)
    (plain / "model.yaml").unlink(missing_ok=True)
    write_tokenizers_as_published(plain)
    base = write_variant(root / "base", plain, "fp16", torch.float16)
    for file in plain.glob("*/*.safetensors"):  # the hub has each format of each part
        shutil.copy(file, base / file.relative_to(plain))
        (base / file.relative_to(plain)).with_suffix(".onnx").write_bytes(b"not needed")
    (base / "README.md").write_text("a card", encoding="utf-8")
    (base / "sd_xl_base_1.0.safetensors").write_bytes(b"not needed")
    lightning = root / "lightning"
    lightning.mkdir()
    for seed, name in enumerate(LIGHTNING_FILES.values()):
        write_random_unet_file(lightning / name, model_dir=plain, seed=seed)
    write_random_lora(lightning / "sdxl_lightning_4step_lora.safetensors", model_dir=plain, seed=5)
    write_single_file(lightning / "sdxl_lightning_4step.safetensors", plain)
    return Published(plain, base, lightning)


class Puller:
    """The command with a cache of its own, and what the server then finds in it."""

    def __init__(self, hub_url: str, cache: Path) -> None:
        self.cache = cache
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            "HF_ENDPOINT": hub_url,
            "HF_HUB_CACHE": str(cache),
            "HF_TOKEN": "hf_secret",
            "PYTHONPATH": str(Path(leyden_client.__file__).parents[1]),
        }

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "leyden_cli", "models", "pull", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def done(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refused(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 1, result.stdout
        assert re.search(r"^error: ", result.stderr, re.MULTILINE)
        return result.stderr
