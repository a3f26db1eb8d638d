"""A tiny shape, data set and teacher for tests of training, and the signals given back."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from leyden_training.data.dataset import render_dataset
from leyden_training.latents import cache_latents
from leyden_training.parts import (
    ModelShape,
    build_text_encoders,
    build_unet,
    build_vae,
    embedded_tokenizers,
    save_pipeline,
)
from leyden_training.workers import Workers

ALONE = Workers(0, 1, torch.device("cpu"))
SIDE = 64
SHAPE = ModelShape(
    native_px=SIDE,
    unet_channels=(16, 16, 16),
    unet_heads=(1, 1, 1),
    unet_norm_groups=4,
    time_id_channels=8,
    text_widths=(16, 16),
    text_heads=(1, 1),
    text_layers=2,
    vae_channels=(4, 4, 4, 4),
    vae_norm_groups=2,
)


@contextmanager
def signals_given_back() -> Iterator[None]:
    """Undoes the handlers that training in this process sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_latents(folder: Path, *, count: int = 48) -> Path:
    """Renders pictures of 64 px and encodes them with an untrained VAE; returns the latents."""
    torch.manual_seed(0)
    size = {(SIDE, SIDE): 1.0}
    render_dataset(folder / "data", count=count, seed=0, workers=1, size_buckets=size)
    vae = build_vae(SHAPE)
    vae.save_pretrained(folder / "latents" / "vae")
    cache_latents(folder / "data", vae, folder / "latents", embedded_tokenizers())
    return folder / "latents"


def write_pipeline(folder: Path, vae: Path, *, seed: int = 0) -> Path:
    """Writes a teacher whose random weights say something else at every timestep and prompt."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    unet, tokenizers = build_unet(SHAPE), embedded_tokenizers()
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    save_pipeline(
        folder,
        vae=AutoencoderKL.from_pretrained(vae),
        unet=unet,
        text_encoders=build_text_encoders(SHAPE, tokenizers[0]),
        tokenizers=tokenizers,
    )
    return folder
