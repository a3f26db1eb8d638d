"""Loads the UNet: from the base, a file laid over it or an all-in-one file; fuses a LoRA."""

import hashlib
import re
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from leyden_server.accelerator.single_file import load_part
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.resolved import FusedLora

__all__ = ["load_unet", "weights_digest"]

ADAPTER = "leyden"
DOWN_WEIGHTS = (".down.weight", ".lora_A.weight")
BLOB_OF_SHA256 = re.compile(r"[0-9a-f]{64}")


def load_unet(model: ResolvedModel, dtype: torch.dtype) -> UNet2DConditionModel:
    """Load the weights on the CPU, in `dtype`.

    Raises:
        ModelRepositoryError: weights do not fit the base's UNet config.

    """
    if model.lora is None:
        return _load(model, dtype)
    # In float32: a LoRA's share of a weight is often smaller than what bfloat16 can add to it.
    unet = _load(model, torch.float32)
    _fuse(unet, model, model.lora)
    return unet.to(dtype)


def weights_digest(model: ResolvedModel) -> str:
    """Return `sha256:` and 16 hex digits that identify the UNet's weights.

    One file: the beginning of its own SHA-256, as `sha256sum` prints it. Otherwise that of the
    files' digests, one a line and in order; with a LoRA, of its digest and scale after them.
    """
    digests = [_sha256(file) for file in model.unet_weight_files]
    if model.lora is not None:
        digests.append(f"{_sha256(model.lora.file)} * {model.lora.scale!r}")
    whole = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return f"sha256:{(digests[0] if len(digests) == 1 else whole)[:16]}"


def _sha256(file: Path) -> str:
    # The hub cache names a weight file by the SHA-256 that the hub told, and `leyden models pull`
    # has checked it: no need to read 5 GB for it at each start.
    blob = file.resolve()
    if blob.parent.name == "blobs" and BLOB_OF_SHA256.fullmatch(blob.name):
        return blob.name
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _load(model: ResolvedModel, dtype: torch.dtype) -> UNet2DConditionModel:
    if model.unet_file is not None:
        return _load_over_config(model, model.unet_file, dtype)
    if model.single_file is not None:
        return load_part(model, UNet2DConditionModel, "unet", dtype)
    return UNet2DConditionModel.from_pretrained(
        model.base_folder / "unet", dtype=dtype, variant=model.variant, use_safetensors=True
    )


def _load_over_config(model: ResolvedModel, file: Path, dtype: torch.dtype) -> UNet2DConditionModel:
    # On the meta device first, so that the weights are in memory only once.
    with torch.device("meta"):
        config = UNet2DConditionModel.load_config(model.base_folder / "unet")
        unet = UNet2DConditionModel.from_config(config)
    weights = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    try:
        unet.load_state_dict(weights, assign=True)
    except RuntimeError as exception:
        raise ModelRepositoryError(
            f"model {model.name!r}: {file.name} does not fit the UNet config of "
            f"{model.base_folder}; {_first_lines(str(exception))}"
        ) from exception
    return unet


def _fuse(unet: UNet2DConditionModel, model: ResolvedModel, lora: FusedLora) -> None:
    """Add the LoRA's product to the weights, as diffusers' `fuse_lora` does, and forget it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    state_dict, alphas = _lora_state_dict(unet, model, lora)
    try:
        unet.load_lora_adapter(
            state_dict, network_alphas=alphas, prefix="unet", adapter_name=ADAPTER
        )
    except (KeyError, RuntimeError, ValueError) as exception:
        raise _does_not_fit(model, lora, _first_lines(str(exception))) from exception
    # peft passes over what has no place in the model.
    wanted = sum(name.endswith(DOWN_WEIGHTS) for name in state_dict)
    placed = sum(isinstance(module, BaseTunerLayer) for module in unet.modules())
    if placed != wanted:
        raise _does_not_fit(model, lora, f"of its {wanted} layers the UNet has {placed}")
    unet.fuse_lora(lora_scale=lora.scale, safe_fusing=True)
    unet.unload_lora()


def _lora_state_dict(
    unet: UNet2DConditionModel, model: ResolvedModel, lora: FusedLora
) -> tuple[dict[str, torch.Tensor], dict[str, float] | None]:
    """Read the file; kohya's names become diffusers'."""
    try:
        state_dict, alphas = StableDiffusionXLPipeline.lora_state_dict(
            load_file(lora.file), unet_config=unet.config
        )
    except (KeyError, IndexError, ValueError) as exception:
        raise _does_not_fit(model, lora, _first_lines(str(exception))) from exception
    others = sorted({name.partition(".")[0] for name in state_dict} - {"unet"})
    if others or not state_dict:
        raise _does_not_fit(
            model,
            lora,
            f"it is for {', '.join(others) or 'nothing'}; models of one base share its text "
            "encoders, so a LoRA may be for the UNet alone",
        )
    return state_dict, alphas


def _does_not_fit(model: ResolvedModel, lora: FusedLora, why: str) -> ModelRepositoryError:
    return ModelRepositoryError(
        f"model {model.name!r}: the LoRA {lora.file.name} does not fit its UNet: {why}"
    )


def _first_lines(text: str) -> str:
    """Cut torch's list of every tensor that does not fit to its beginning."""
    lines = [line.strip()[:200] for line in text.splitlines()]
    return " ".join([*lines[:3], f"and {len(lines) - 3} more"] if len(lines) > 4 else lines)
