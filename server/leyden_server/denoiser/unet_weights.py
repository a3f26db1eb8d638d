"""Loads the UNet, its LoRAs added, and tells which weights they are."""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel

from leyden_server.accelerator.adapters import adapters_of
from leyden_server.accelerator.tensor_files import FileDigests, sha256_of
from leyden_server.accelerator.weights import fill, without_memory
from leyden_server.checkpoint.model_plan import ModelPlan
from leyden_server.model_repository import ResolvedModel

__all__ = ["LoadedUNet", "load_unet"]

BLOB_OF_SHA256 = re.compile(r"[0-9a-f]{64}")


class LoadedUNet(NamedTuple):
    """A UNet on the CPU, and which weights it has."""

    unet: UNet2DConditionModel
    revision: str
    """`sha256:` and 16 hex digits that identify the weights.

    Of one file that is the UNet's alone they are the beginning of its SHA-256, as `sha256sum`
    prints it; of an all-in-one file that of its header and of the UNet's tensors. Of several
    files it is that of the files' digests, one a line and in order; with LoRAs, of their digests
    and scales after them.
    """


def load_unet(model: ResolvedModel, dtype: torch.dtype) -> LoadedUNet:
    """Load the weights on the CPU, in `dtype`.

    Raises:
        ModelRepositoryError: weights do not fit the base's UNet config, or are not finite.

    """
    plan = ModelPlan(model.weight_files)
    part = plan.part("unet")
    unet = without_memory(partial(UNet2DConditionModel.from_config, plan.config("unet")))
    digests = FileDigests(told={path: _told(path) for path in model.unet_weight_files})
    try:
        fill(unet, part, dtype, adapters=adapters_of(model, "unet", plan), digests=digests)
        lines = [digests.of(path) for path in model.unet_weight_files]
    finally:
        digests.close()
    lines += [
        f"{_told(lora.file) or sha256_of(lora.file)} * {lora.scale!r}"
        for lora in model.loras_of("unet")
    ]
    whole = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return LoadedUNet(unet, f"sha256:{(lines[0] if len(lines) == 1 else whole)[:16]}")


def _told(file: Path) -> str:
    """Return the SHA-256 that a file is named by, or nothing.

    The hub cache names a weight file by what the hub told, and `leyden models pull` has checked
    it: no need to take it again at each start.
    """
    blob = file.resolve()
    named = blob.parent.name == "blobs" and BLOB_OF_SHA256.fullmatch(blob.name)
    return blob.name if named else ""
