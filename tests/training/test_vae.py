"""The VAE: it learns, it can be stopped, and its latents are whitened by its own weights."""

import csv
from pathlib import Path

import pytest
import torch
from support.tiny_training import (
    ALONE,
    SHAPE,
    SIDE,
    assert_same_weights,
    checkpoint_of,
    stopped_in,
)
from torch import Tensor

from leyden_training.parts import SCALING_FACTOR, build_vae
from leyden_training.vae_training import Phase, VaeSettings, train_vae, whiten
from leyden_training.workers import Workers

pytestmark = pytest.mark.usefixtures("alone")


def rows(latents: Tensor) -> Tensor:
    return latents.permute(0, 2, 3, 1).reshape(-1, 4)


@torch.no_grad()
def test_whitened_latents_are_white_and_decode_to_the_same() -> None:
    torch.manual_seed(0)
    vae = build_vae(SHAPE).eval()
    pictures = torch.rand(16, 3, SIDE, SIDE) * 2 - 1
    latents = vae.encode(pictures).latent_dist.mode()
    covariance = torch.cov(rows(latents).T, correction=0)
    assert (covariance * SCALING_FACTOR**2 - torch.eye(4)).abs().max() > 0.1
    decoded = vae.decode(latents).sample

    whiten(vae, rows(latents))
    posterior = vae.encode(pictures).latent_dist
    scaled = rows(posterior.mode()) * SCALING_FACTOR
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(scaled.T, correction=0), torch.eye(4), atol=1e-2, rtol=0)
    assert posterior.std.max() < 1e-4
    torch.testing.assert_close(vae.decode(posterior.mode()).sample, decoded, atol=1e-3, rtol=0)


def train(folder: Path, run: Path, *phases: Phase, workers: Workers = ALONE) -> None:
    settings = VaeSettings(phases=phases, warmup=2, cooldown=4)
    train_vae(workers, data=folder / "data", run=run, shape=SHAPE, settings=settings)


def test_training_brings_pictures_back_better(tiny_folder: Path, tmp_path: Path) -> None:
    train(tiny_folder, tmp_path, Phase(iterations=100, crop_px=32, batch=8))
    with (tmp_path / "curve.csv").open(newline="") as file:
        psnr = [float(row["psnr_db"]) for row in csv.DictReader(file)]
    assert psnr[-1] > psnr[0] + 2


def test_stopped_and_resumed_is_the_same_as_uninterrupted(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """Across the bound of two phases, crops and whole pictures."""
    phases = Phase(iterations=3, crop_px=32, batch=4), Phase(iterations=3, crop_px=None, batch=2)
    train(tiny_folder, tmp_path / "whole", *phases)
    train(tiny_folder, tmp_path / "parts", *phases, workers=stopped_in(update=2))
    assert checkpoint_of(tmp_path / "parts")["iteration"] == 2
    train(tiny_folder, tmp_path / "parts", *phases)
    whole, parts = checkpoint_of(tmp_path / "whole"), checkpoint_of(tmp_path / "parts")
    assert whole["iteration"] == parts["iteration"] == 6
    assert_same_weights(parts["vae"], whole["vae"])
