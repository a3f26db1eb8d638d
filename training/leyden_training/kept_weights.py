"""A teacher's averaged weights as a small folder, and going on from nothing but them.

The folder holds `unet`, `text_encoder` and `text_encoder_2` as diffusers and transformers
write them, in float16, and `state.json`: where the run was, its settings and shape, and a
digest of the VAE whose latents it learnt from, without which the weights mean nothing. What it
does not hold are the optimizers; a run that goes on from it warms up again.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from leyden_training.parts import ModelShape, parameters_of
from leyden_training.run_folder import read_checkpoint
from leyden_training.teacher import Teacher

__all__ = ["KeptTeacher", "averaged_weights", "keep_teacher", "kept_state", "read_kept"]

MOST_BYTES = 20_000_000
"""The repository's history keeps every copy."""

PARTS = {
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}


@dataclass(frozen=True)
class KeptTeacher:
    """What a run goes on from."""

    iteration: int
    weights: dict[str, Tensor]
    """Of a `Teacher`, float32."""


def averaged_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the averaged weights of a checkpoint as a `Teacher`'s state."""
    return {
        name.removeprefix("module."): value
        for name, value in checkpoint["average"].items()
        if name.startswith("module.")
    }


def keep_teacher(run: Path, teacher: Teacher, vae: Path, out: Path) -> int:
    """Write the averaged weights of a run's checkpoint to `out`, in place of what is there.

    Args:
        run: the teacher's run folder.
        teacher: of the run's shape; its weights are overwritten.
        vae: folder of the VAE whose latents it learns from.
        out: folder to write.

    Returns:
        The size of the folder in bytes.

    Raises:
        FileNotFoundError: the run has no checkpoint, or the VAE is missing.
        ValueError: the weights take more than `MOST_BYTES`.

    """
    checkpoint = read_checkpoint(run)
    if checkpoint is None:
        raise FileNotFoundError(f"{run} has no checkpoint: train with `leyden-train teacher`")
    size = 2 * parameters_of(teacher)
    if size > MOST_BYTES:
        raise ValueError(f"{size} bytes of weights are more than the {MOST_BYTES} that are kept")
    teacher.load_state_dict(averaged_weights(checkpoint))
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    for name in PARTS:
        getattr(teacher, name).half().save_pretrained(part / name)
    state = {
        "iteration": checkpoint["iteration"],
        # None: the checkpoint is of a version that did not write them.
        **{name: checkpoint.get(name) for name in ("settings", "shape", "workers")},
        "vae_sha256": vae_digest(vae),
        "to_go_on": "the latents of the VAE with this digest (`leyden-train latents --vae`), "
        "then `leyden-train teacher --from` this folder",
    }
    (part / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def kept_state(folder: Path) -> dict[str, Any]:
    """Read `state.json`.

    Raises:
        FileNotFoundError: nothing is kept there.

    """
    file = folder / "state.json"
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no kept weights (no state.json)")
    state: dict[str, Any] = json.loads(file.read_text())
    return state


def read_kept(folder: Path, shape: ModelShape, vae: Path) -> KeptTeacher:
    """Read kept weights to go on from with the latents of a VAE.

    Raises:
        FileNotFoundError: nothing is kept there, or the VAE is missing.
        ValueError: the weights are of another shape, or of another VAE's latents.

    """
    state = kept_state(folder)
    if state["shape"] is not None and ModelShape.of(state["shape"]) != shape:
        raise ValueError(f"{folder} is of the shape {state['shape']}, not {shape}")
    if vae_digest(vae) != state["vae_sha256"]:
        raise ValueError(f"{folder} learnt from the latents of another VAE than {vae}")
    weights = {
        f"{name}.{key}": value
        for name, part in PARTS.items()
        for key, value in part.from_pretrained(folder / name, dtype=torch.float32)
        .state_dict()
        .items()
    }
    return KeptTeacher(state["iteration"], weights)


def vae_digest(folder: Path) -> str:
    """SHA-256 of a VAE's weights in float16, so that a kept copy has the digest of the whole."""
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{folder} holds no VAE: run `leyden-train latents`")
    digest = hashlib.sha256()
    for name, value in sorted(AutoencoderKL.from_pretrained(folder).state_dict().items()):
        digest.update(name.encode())
        digest.update(value.half().numpy().tobytes())
    return digest.hexdigest()
