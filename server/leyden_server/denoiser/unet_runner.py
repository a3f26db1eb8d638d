"""Runs the UNet on a batch."""

import time
from collections.abc import Collection
from functools import partial
from typing import Self

import torch
from diffusers import UNet2DConditionModel

from leyden_server.accelerator.cuda_graphs import padded_rows
from leyden_server.accelerator.device import channels_last
from leyden_server.accelerator.group_norm import join_last_norm, replace_group_norms
from leyden_server.accelerator.resnet_block import replace_resnet_blocks
from leyden_server.accelerator.run_health import memory_errors
from leyden_server.accelerator.upsample import replace_upsamples
from leyden_server.config import UNetExecution
from leyden_server.denoiser.float8_products import Product, put_in_float8
from leyden_server.denoiser.geglu import replace_geglus
from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.denoiser.transformer import replace_transformers
from leyden_server.denoiser.unet_execution import UNetExecutor, UNetInputs
from leyden_server.denoiser.unet_weights import load_unet
from leyden_server.model_repository import ResolvedModel

__all__ = ["UNetRunner"]


class UNetRunner:
    """A UNet on a device. Not thread-safe: one run at a time."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        *,
        execution: UNetExecution = "auto",
        float8: Collection[Product] = (),
        revision: str = "",
    ) -> None:
        """Take a loaded UNet, in its dtype and on its device, and what identifies its weights.

        The products of `float8` are put in 8-bit floats, after its LoRAs, which it has in its
        weights.

        Raises:
            ConfigError: the device cannot run it as `execution` says.

        """
        self.revision = revision
        self.dtype: torch.dtype = unet.dtype
        self.device: torch.device = unet.device
        self.unet = channels_last(unet.eval())
        replace_resnet_blocks(self.unet)
        replace_upsamples(self.unet)
        join_last_norm(self.unet)
        replace_group_norms(self.unet)
        self._keys_values = replace_transformers(self.unet)
        replace_geglus(self.unet)  # of transformers that are not as SDXL's
        put_in_float8(self.unet, float8)
        self._executor = UNetExecutor(self.unet, execution)

    @classmethod
    def load(
        cls,
        model: ResolvedModel,
        *,
        dtype: torch.dtype,
        device: torch.device,
        execution: UNetExecution = "auto",
        float8: Collection[Product] = (),
    ) -> Self:
        """Load the weights.

        Raises:
            ModelRepositoryError: weights do not fit the base's UNet config.
            ConfigError: the device cannot run it as `execution` says.

        """
        loaded = load_unet(model, dtype)
        return cls(
            loaded.unet.to(device), execution=execution, float8=float8, revision=loaded.revision
        )

    @property
    def conditioning(self) -> tuple[int, int]:
        """Widths of prompt_embeds and of pooled_prompt_embeds."""
        config = self.unet.config
        time_ids_width = 6 * config.addition_time_embed_dim
        return (
            config.cross_attention_dim,
            config.projection_class_embeddings_input_dim - time_ids_width,
        )

    @property
    def pads(self) -> bool:
        """Whether batches are padded.

        On a GPU and for a compiled UNet, so that few shapes are ever prepared; a CPU pays for
        each row, so nothing else is padded there.
        """
        return self._executor.prepares_buckets or self.device.type != "cpu"

    def padded_rows(self, rows: int) -> int:
        """Return the batch bucket for so many rows: where they are padded, a power of two."""
        return padded_rows(rows) if self.pads else rows

    def buckets(self, max_rows: int) -> list[int]:
        """Return the rows to warm up where nothing is measured, up to `max_rows`, padded."""
        if not self._executor.prepares_buckets:
            return [1]
        return [1 << power for power in range(self.padded_rows(max_rows).bit_length())]

    @torch.inference_mode()
    def encoder_hidden_states(self, prompt_embeds: torch.Tensor) -> torch.Tensor:
        """Return what the UNet's cross-attention reads, (B, T, W), of prompt_embeds (B, T, D).

        No step changes it: an image has it made once. Both are on the device, in the UNet's dtype.
        """
        found: torch.Tensor = self._keys_values(prompt_embeds)
        return found

    @torch.inference_mode()
    def run(self, batch: InputBatch) -> torch.Tensor:
        """Return the UNet's prediction (P, C, H, W) for each row."""
        return self._executor(
            UNetInputs(
                batch.sample,
                batch.timestep,
                batch.encoder_hidden_states,
                batch.text_embeds,
                batch.time_ids,
                batch.timestep_cond,
            )
        )

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @torch.inference_mode()
    def time_rows(self, rows: int, latent_height: int, latent_width: int) -> float:
        """Run `rows` rows of zeros, padded as a batch would be; return the seconds taken.

        Compiling and capturing, which the first run of a bucket does, are not counted.

        Raises:
            ConfigError: the UNet does not compile here.
            MemoryError: the device has not enough.

        """
        inputs = self._zeros(self.padded_rows(rows), latent_height, latent_width)
        with memory_errors():
            self._executor.prepare(inputs)
            self.synchronize()
            start = time.perf_counter()
            self._executor(inputs)
            self.synchronize()
        return time.perf_counter() - start

    def _zeros(self, rows: int, latent_height: int, latent_width: int) -> UNetInputs:
        width, pooled_width = self.conditioning
        cond_width = self.unet.config.time_cond_proj_dim
        zeros = partial(torch.zeros, dtype=self.dtype, device=self.device)
        return UNetInputs(
            sample=zeros((rows, self.unet.config.in_channels, latent_height, latent_width)),
            timestep=torch.full((rows,), 999.0, device=self.device),
            encoder_hidden_states=self.encoder_hidden_states(zeros((rows, 77, width))),
            text_embeds=zeros((rows, pooled_width)),
            time_ids=zeros((rows, 6)),
            timestep_cond=None if cond_width is None else zeros((rows, cond_width)),
        )
