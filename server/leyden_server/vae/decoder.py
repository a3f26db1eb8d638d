"""The VAE decoder, batched over latents of one shape."""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from numpy.typing import NDArray

from leyden_server.accelerator.device import channels_last
from leyden_server.accelerator.group_norm import join_last_norm
from leyden_server.accelerator.resnet_block import replace_resnet_blocks
from leyden_server.accelerator.run_health import memory_errors
from leyden_server.accelerator.upsample import replace_upsamples
from leyden_server.accelerator.weights import fill, without_memory
from leyden_server.checkpoint.model_plan import ModelPlan
from leyden_server.config import VaeExecution
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import FloatArray
from leyden_server.vae.last_convolution import replace_last_convolution
from leyden_server.vae.mid_attention import replace_mid_attention
from leyden_server.vae.shared_group_norm import ImageStatistics, SharedGroupNorms
from leyden_server.vae.tile_grid import Patch, Region
from leyden_server.vae.vae_execution import VaeExecutor

__all__ = ["VaeDecoder"]


class VaeDecoder:
    """Decodes latents. Not thread-safe: one call at a time."""

    def __init__(
        self,
        model: ResolvedModel,
        *,
        dtype: torch.dtype,
        device: torch.device,
        execution: VaeExecution = "eager",
    ) -> None:
        """Load the VAE from the model's base folder or the file that takes its place.

        Raises:
            ModelRepositoryError: weights do not fit the base's config, or are not finite.

        """
        self._vae = _load_vae(model, dtype)
        channels_last(self._vae.to(device).eval())
        _replace_layers(self._vae.decoder)
        # After the others: the norms that are in them are shared too.
        self._norms = SharedGroupNorms(self._vae.decoder)
        self._executor = VaeExecutor(self._vae, execution)
        self.scale = model.vae_scale_factor
        """Pixels to a side of one latent."""

    @torch.inference_mode()
    def decode(self, latents: list[FloatArray]) -> list[NDArray[np.uint8]]:
        """Decode latents (C, H / 8, W / 8) of one shape to pixels (H, W, 3) uint8."""
        unit = _denormalized(self._executor(self._unscale(latents))).clamp(0, 1)
        # Rounded where they are: a quarter of the bytes leaves a GPU.
        return list((unit * 255).round().to(torch.uint8).cpu().numpy())

    @torch.inference_mode()
    def observe(
        self, latents: FloatArray, patches: Sequence[Patch], statistics: ImageStatistics
    ) -> None:
        """Add what patches of one size, of latents (C, H, W), show at each GroupNorm."""
        with self._norms.observing(patches, statistics):
            self._decode_parts([patch.region.of(latents) for patch in patches])

    @torch.inference_mode()
    def decode_regions(
        self, latents: FloatArray, regions: Sequence[Region], statistics: ImageStatistics
    ) -> FloatArray:
        """Decode regions of one size, of latents (C, H, W), by the whole's statistics.

        Returns (B, h, w, 3), of which 0 … 1 can be shown.
        """
        with self._norms.using(statistics):
            pixels = self._decode_parts([region.of(latents) for region in regions])
        return pixels.cpu().numpy()

    def time_rows(self, rows: int, latent_height: int, latent_width: int) -> float:
        """Decode `rows` latents of zeros and return the seconds that it took.

        Compiling, which the first run of a size does, is not counted.

        Raises:
            ConfigError: the decoder does not compile here.
            MemoryError: the device has not enough.

        """
        shape = (self._vae.config.latent_channels, latent_height, latent_width)
        latents = [np.zeros(shape, dtype=np.float32)] * rows
        with memory_errors():
            with torch.inference_mode():
                self._executor.prepare(self._unscale(latents))
            start = time.perf_counter()
            self.decode(latents)
        return time.perf_counter() - start

    def _decode_parts(self, parts: list[FloatArray]) -> torch.Tensor:
        """Return (B, H, W, 3) float32, by whatever the norms are told."""
        return _denormalized(self._executor.run_eagerly(self._unscale(parts)))

    def _unscale(self, batch: list[FloatArray]) -> torch.Tensor:
        """Return the batch (B, C, H, W) on the device, as the VAE's decoder reads it."""
        config = self._vae.config
        latents = torch.stack([torch.tensor(one) for one in batch])
        latents = latents.to(self._vae.device, self._vae.dtype)
        scaling_factor: float = config.scaling_factor
        if config.latents_mean is None or config.latents_std is None:
            return latents / scaling_factor
        mean, std = (
            torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )
        return latents * std / scaling_factor + mean


def _denormalized(pixels: torch.Tensor) -> torch.Tensor:
    """Return (B, H, W, 3) float32, as diffusers' VaeImageProcessor denormalizes it."""
    return (pixels.float() * 0.5 + 0.5).permute(0, 2, 3, 1)


def _replace_layers(decoder: Decoder) -> None:
    """Put layers of ours, with the same weights, in the places of a decoder's own."""
    replace_resnet_blocks(decoder)
    replace_upsamples(decoder)
    replace_mid_attention(decoder)
    join_last_norm(decoder)
    replace_last_convolution(decoder)


def _load_vae(model: ResolvedModel, dtype: torch.dtype) -> AutoencoderKL:
    plan = ModelPlan(model.weight_files)
    config = plan.config("vae")
    if dtype == torch.float16 and config["force_upcast"]:
        # SDXL's VAE overflows in float16; its config says so.
        dtype = torch.float32
    vae = without_memory(partial(AutoencoderKL.from_config, config))
    fill(vae, plan.part("vae"), dtype)
    return vae
