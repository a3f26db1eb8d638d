"""How the VAE's decoder runs: eagerly, or compiled for the sizes of the warm-up."""

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL

from leyden_server.accelerator.compiler import any_number_of_rows, compiled, explained
from leyden_server.config import VaeExecution

__all__ = ["VaeExecutor"]

logger = logging.getLogger(__name__)


class VaeExecutor:
    """Decodes latents (B, C, H, W), without their scale, to pixels (B, 3, 8 H, 8 W) of -1 … 1."""

    def __init__(self, vae: AutoencoderKL, execution: VaeExecution) -> None:
        self._vae = vae
        self._compiled: Callable[..., Any] | None = None
        if execution == "compile":
            self._compiled = compiled(vae.decoder)
        self._prepared: set[tuple[bool, torch.Size]] = set()

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode as configured where the size is prepared, and else eagerly."""
        if _form(latents) in self._prepared:
            return self._run_compiled(latents)
        return self.run_eagerly(latents)

    def run_eagerly(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode without the compiler, whatever is configured."""
        pixels: torch.Tensor = self._vae.decode(latents, return_dict=False)[0]
        return pixels

    def prepare(self, latents: torch.Tensor) -> None:
        """Make latents of this size run as configured, by decoding these.

        Raises:
            ConfigError: the decoder does not compile here.
            torch.OutOfMemoryError: the device has not enough memory.

        """
        if self._compiled is None or _form(latents) in self._prepared:
            return
        started_s = time.monotonic()
        with explained("vae.vae_execution"):
            self._run_compiled(latents)
        self._prepared.add(_form(latents))
        logger.info(
            "VAE compiled: %s at latents %dx%d ready in %.1f s",
            "one image" if len(latents) == 1 else "several images",
            *latents.shape[2:],
            time.monotonic() - started_s,
        )

    def _run_compiled(self, latents: torch.Tensor) -> torch.Tensor:
        assert self._compiled is not None
        if self._vae.post_quant_conv is not None:
            latents = self._vae.post_quant_conv(latents)
        # Of one layout, or each other one would be compiled again.
        latents = latents.contiguous(memory_format=torch.channels_last)
        any_number_of_rows(latents)
        pixels: torch.Tensor = self._compiled(latents)
        return pixels


def _form(latents: torch.Tensor) -> tuple[bool, torch.Size]:
    """Return what code is compiled for: one image or several, and of which size."""
    return len(latents) > 1, latents.shape[1:]
