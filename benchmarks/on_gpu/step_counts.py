"""What one UNet step and one VAE decode compute and move, by stock diffusers and by Leyden."""

from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import partial
from typing import Any
from unittest import mock

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from benchmarks.on_gpu.architecture import TOKENS, Architecture
from benchmarks.on_gpu.counting import counting
from benchmarks.on_gpu.operator_counts import KINDS, Card, Counts
from benchmarks.on_gpu.random_weights import resolved
from leyden_server.accelerator.device import channels_last
from leyden_server.accelerator.float8 import FLOAT8
from leyden_server.denoiser.float8_products import PRODUCTS, Product, chosen_for
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.vae import decoder
from leyden_server.vae.decoder import VaeDecoder

__all__ = ["H100", "VARIANTS", "count_steps"]

H100 = Card(
    bytes_per_s=3.02e12,
    flop_per_s={FLOAT8: 1557e12, torch.bfloat16: 796e12, torch.float32: 60e12},
)
"""A copy, and products of 8192 x 8192 in FP8 (row-wise scales) and bfloat16, as measured on one
H100 on 2026-11-28; float32 is of its data sheet, and only a few small products are in it."""

DEVICE = torch.device("cuda", 0)
DTYPE = torch.bfloat16
STEPS = 4
"""Of a generation: FP8 has other products where they are fewer."""
VARIANTS = ("diffusers", "leyden", "leyden fp8", "leyden fp8 all")
"""Those of FP8 are of the UNet alone: as `denoiser.dtype: fp8` has it, and with every product."""

Row = dict[str, Any]


def count_steps(
    architecture: Architecture, size_px: int, rows: tuple[int, ...], say: Callable[[str], None]
) -> list[Row]:
    """Count every model, variant and number of rows; return the rows of the JSON."""
    counters: dict[tuple[str, str], Callable[..., Counts]] = {
        ("unet", "diffusers"): _stock_unet,
        ("unet", "leyden"): _our_unet,
        ("unet", "leyden fp8"): partial(_our_unet, float8=chosen_for(STEPS)),
        ("unet", "leyden fp8 all"): partial(_our_unet, float8=PRODUCTS),
        ("vae", "diffusers"): _stock_vae,
        ("vae", "leyden"): _our_vae,
    }
    counted = []
    for (model, variant), count in counters.items():
        for number in rows:
            say(f"{model} by {variant}, {number} rows")
            counts = count(architecture, size_px // architecture.vae_scale_factor, number)
            what = {"model": model, "variant": variant, "size_px": size_px, "rows": number}
            counted.append(what | _figures(counts))
    return counted


def _figures(counts: Counts) -> Row:
    operators = {
        f"{kind}: {name}": asdict(cost) for (kind, name), cost in sorted(counts.by_operator.items())
    }
    return {
        "total": asdict(counts.total),
        "kinds": {kind: asdict(counts.of_kind(kind)) for kind in KINDS},
        "operators": operators,
    }


def _stock_unet(architecture: Architecture, side: int, rows: int) -> Counts:
    with counting(H100) as counts:
        unet = channels_last(_unet(architecture))
        with DEVICE, counts.around(unet):
            unet(
                torch.empty(rows, architecture.unet["in_channels"], side, side, dtype=DTYPE),
                torch.empty(rows),
                encoder_hidden_states=torch.empty(
                    rows, TOKENS, architecture.unet["cross_attention_dim"], dtype=DTYPE
                ),
                added_cond_kwargs={
                    "text_embeds": torch.empty(rows, architecture.pooled_width, dtype=DTYPE),
                    "time_ids": torch.empty(rows, 6, dtype=DTYPE),
                },
            )
    return counts


class _Runner(UNetRunner):
    """The server's, whose device is not there to be waited for."""

    def synchronize(self) -> None:
        """Wait for nothing."""


def _our_unet(
    architecture: Architecture, side: int, rows: int, *, float8: Collection[Product] = ()
) -> Counts:
    with counting(H100) as counts:
        runner = _Runner(_unet(architecture), execution="eager", float8=float8)
        with counts.around(runner.unet):
            runner.time_rows(rows, side, side)
    return counts


def _stock_vae(architecture: Architecture, side: int, rows: int) -> Counts:
    with counting(H100) as counts:
        vae = channels_last(_vae(architecture))
        counts.running = True
        vae.decode(_latents(architecture, side, rows))
    return counts


def _our_vae(architecture: Architecture, side: int, rows: int) -> Counts:
    with counting(H100) as counts:
        vae = _vae(architecture)
        with mock.patch.object(decoder, "_load_vae", return_value=vae):
            ours = VaeDecoder(resolved(), dtype=DTYPE, device=DEVICE)
        counts.running = True
        ours._executor(_latents(architecture, side, rows))
    return counts


def _unet(architecture: Architecture) -> UNet2DConditionModel:
    with DEVICE:
        return architecture.build_unet().to(DTYPE)


def _vae(architecture: Architecture) -> AutoencoderKL:
    with DEVICE:
        return architecture.build_vae().to(DTYPE)


def _latents(architecture: Architecture, side: int, rows: int) -> torch.Tensor:
    shape = (rows, architecture.vae["latent_channels"], side, side)
    return torch.empty(shape, dtype=DTYPE, device=DEVICE)
