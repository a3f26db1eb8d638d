"""A tiny shape, data set and teacher for tests of training, and the signals given back."""

import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

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
from leyden_training.run_folder import read_checkpoint
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


def stopped_in(update: int) -> Workers:
    """Returns this process as a worker that gets SIGTERM in the middle of its n-th update."""
    updates = count(1)

    class Stopped(Workers):
        def average_gradients(self, parameters: Iterable[Tensor]) -> None:
            if next(updates) == update:
                signal.raise_signal(signal.SIGTERM)
            super().average_gradients(parameters)

    return Stopped(0, 1, torch.device("cpu"))


def assert_same_weights(parts: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> None:
    """To the bit."""
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=0, atol=0)


def checkpoint_of(run: Path) -> dict[str, Any]:
    """Returns the checkpoint of a run that has one."""
    found = read_checkpoint(run)
    assert found is not None
    return found


def write_latents(folder: Path, *, pictures: int = 48) -> Path:
    """Renders pictures of 64 px and encodes them with an untrained VAE; returns the latents."""
    torch.manual_seed(0)
    size = {(SIDE, SIDE): 1.0}
    render_dataset(folder / "data", count=pictures, seed=0, workers=1, size_buckets=size)
    vae = build_vae(SHAPE)
    vae.save_pretrained(folder / "latents" / "vae")
    cache_latents(folder / "data", vae, folder / "latents", embedded_tokenizers())
    return folder / "latents"


def random_unet(shape: ModelShape, seed: int) -> UNet2DConditionModel:
    """Returns a UNet that says something else at every timestep and prompt."""
    torch.manual_seed(seed)
    unet = build_unet(shape)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    return unet


def write_pipeline(folder: Path, vae: Path, *, seed: int = 0, shape: ModelShape = SHAPE) -> Path:
    """Writes a teacher of random weights with the VAE of that folder; returns the folder."""
    unet, tokenizers = random_unet(shape, seed), embedded_tokenizers()
    save_pipeline(
        folder,
        vae=AutoencoderKL.from_pretrained(vae),
        unet=unet,
        text_encoders=build_text_encoders(shape, tokenizers[0]),
        tokenizers=tokenizers,
    )
    return folder
