"""Loads the UNet and runs it on a batch."""

import hashlib
import time
from functools import partial
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ResolvedModel

__all__ = ["UNetRunner", "weights_digest"]


class UNetRunner:
    """A UNet on a device. Not thread-safe: one run at a time."""

    def __init__(self, model: ResolvedModel, *, dtype: torch.dtype, device: torch.device) -> None:
        """Load the weights.

        Raises:
            ModelRepositoryError: the state dict does not fit the base's UNet config.

        """
        self.dtype = dtype
        self.device = device
        self.unet = _load(model, dtype).to(device).eval()

    @property
    def conditioning(self) -> tuple[int, int]:
        """Widths of prompt_embeds and of pooled_prompt_embeds."""
        config = self.unet.config
        time_ids_width = 6 * config.addition_time_embed_dim
        return (
            config.cross_attention_dim,
            config.projection_class_embeddings_input_dim - time_ids_width,
        )

    def padded_rows(self, rows: int) -> int:
        """Return the batch bucket for so many rows.

        A GPU gets powers of two, so that few shapes are ever tuned for; a CPU pays for
        each row, so nothing is padded there.
        """
        return rows if self.device.type == "cpu" else 1 << (rows - 1).bit_length()

    @torch.inference_mode()
    def run(self, batch: InputBatch) -> torch.Tensor:
        """Return the UNet's prediction (P, C, H, W) for each row."""
        noise_pred: torch.Tensor = self.unet(
            batch.sample,
            batch.timestep,
            encoder_hidden_states=batch.encoder_hidden_states,
            added_cond_kwargs={"text_embeds": batch.text_embeds, "time_ids": batch.time_ids},
            return_dict=False,
        )[0]
        return noise_pred

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @torch.inference_mode()
    def time_rows(self, rows: int, latent_height: int, latent_width: int) -> float:
        """Run `rows` rows of zeros, padded as a batch would be; return the seconds taken.

        Raises:
            MemoryError: the device has not enough.

        """
        rows = self.padded_rows(rows)
        width, pooled_width = self.conditioning
        zeros = partial(torch.zeros, dtype=self.dtype, device=self.device)
        sample = zeros((rows, self.unet.config.in_channels, latent_height, latent_width))
        added = {"text_embeds": zeros((rows, pooled_width)), "time_ids": zeros((rows, 6))}
        states = zeros((rows, 77, width))
        timestep = torch.full((rows,), 999.0, device=self.device)
        self.synchronize()
        start = time.perf_counter()
        try:
            self.unet(sample, timestep, encoder_hidden_states=states, added_cond_kwargs=added)
            self.synchronize()
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        return time.perf_counter() - start


def weights_digest(model: ResolvedModel) -> str:
    """Return `sha256:` and 16 hex digits over the UNet's weight files, in name order."""
    files = [model.unet_file] if model.unet_file else _weight_files(model)
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"


def _first_lines(text: str) -> str:
    """Cut torch's list of every tensor that does not fit to its beginning."""
    lines = [line.strip()[:200] for line in text.splitlines()]
    return " ".join([*lines[:3], f"and {len(lines) - 3} more"] if len(lines) > 4 else lines)


def _weight_files(model: ResolvedModel) -> list[Path]:
    # STEM.safetensors, STEM.VARIANT.safetensors, STEM.VARIANT-00001-of-00002.safetensors
    files = (model.base_folder / "unet").glob("*.safetensors")
    variant = model.variant or ""
    return sorted(file for file in files if file.stem.partition(".")[2].split("-")[0] == variant)


def _load(model: ResolvedModel, dtype: torch.dtype) -> UNet2DConditionModel:
    folder = model.base_folder / "unet"
    if model.unet_file is None:
        return UNet2DConditionModel.from_pretrained(
            folder, dtype=dtype, variant=model.variant, use_safetensors=True
        )
    # On the meta device first, so that the weights are in memory only once.
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
    weights = {name: tensor.to(dtype) for name, tensor in load_file(model.unet_file).items()}
    try:
        unet.load_state_dict(weights, assign=True)
    except RuntimeError as exception:
        raise ModelRepositoryError(
            f"model {model.name!r}: {model.unet_file.name} does not fit the UNet config of "
            f"{model.base_folder}; {_first_lines(str(exception))}"
        ) from exception
    return unet
