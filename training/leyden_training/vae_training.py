"""Training of the VAE, and the folding of a whitening into it.

Reconstruction alone: L1 between pictures and between their gradients at three scales. No KL
term: with one, a VAE this small collapses. A little noise on the latents keeps its decoder
smooth, and a whitening afterwards gives the UNet latents of zero mean and unit covariance.
Crops first, which are cheap, and whole pictures last: GroupNorm sees a crop otherwise than a
picture.
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL
from torch import Tensor

from leyden_training.data.dataset import Dataset, load_dataset
from leyden_training.optimizer import build_optimizers, set_learning_rate
from leyden_training.parts import SCALING_FACTOR, ModelShape, build_vae
from leyden_training.precision import mixed_precision
from leyden_training.progress import training_progress
from leyden_training.run_folder import RunFolder, StopRequest
from leyden_training.schedule import learning_rate_at
from leyden_training.workers import Workers, on_device

__all__ = [
    "Phase",
    "VaeSettings",
    "as_model_input",
    "load_vae",
    "shortened",
    "train_vae",
    "whiten",
]

LATENT_NOISE = 0.06
"""Noise on the latents while training, as a share of their standard deviation."""

GRADIENT_WEIGHT = 0.4


@dataclass(frozen=True)
class Phase:
    """A part of the run with its own picture size."""

    iterations: int
    crop_px: int | None
    """Side of square crops, of the picture's shorter side at most; None for whole pictures."""

    batch: int
    """Pictures of each worker in each iteration."""


@dataclass(frozen=True)
class VaeSettings:
    """How the VAE is trained."""

    phases: tuple[Phase, ...] = (
        Phase(iterations=675, crop_px=64, batch=16),
        Phase(iterations=225, crop_px=128, batch=8),
        Phase(iterations=315, crop_px=None, batch=2),
    )
    learning_rate: float = 4e-3
    warmup: int = 20
    cooldown: int = 540
    seed: int = 0

    @property
    def iterations(self) -> int:
        """Of all phases."""
        return sum(phase.iterations for phase in self.phases)

    def phase_at(self, iteration: int) -> Phase:
        """Return the phase that an iteration belongs to."""
        for phase in self.phases:
            if iteration < phase.iterations:
                return phase
            iteration -= phase.iterations
        return self.phases[-1]


def train_vae(
    workers: Workers, *, data: Path, run: Path, shape: ModelShape, settings: VaeSettings
) -> None:
    """Train until `settings.iterations` are done or the run is told to stop.

    Args:
        workers: this process's place.
        data: folder of a rendered data set.
        run: folder of the run; a checkpoint there is gone on from.
        shape: widths of the VAE.
        settings: how to train.

    """
    folder, stop = RunFolder(run, workers), StopRequest()
    torch.manual_seed(settings.seed)
    vae = on_device(build_vae(shape), workers.device)
    optimizers = build_optimizers(vae, settings.learning_rate, workers)
    iteration = 0
    if state := folder.load():
        iteration = state["iteration"]
        vae.load_state_dict(state["vae"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    dataset = load_dataset(data)

    def checkpoint() -> dict[str, Any]:
        return {
            "iteration": iteration,
            "vae": vae.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
            "settings": str(asdict(settings)),
        }

    with training_progress("VAE", settings.iterations, iteration, workers) as progress:
        while iteration < settings.iterations:
            set_learning_rate(
                optimizers,
                learning_rate_at(
                    iteration,
                    total=settings.iterations,
                    peak=settings.learning_rate,
                    warmup=settings.warmup,
                    cooldown=settings.cooldown,
                ),
            )
            started = time.perf_counter()
            random = np.random.default_rng([settings.seed, iteration, workers.rank])
            pictures = draw_pictures(dataset, settings.phase_at(iteration), random)
            pictures = pictures.to(workers.device)
            with mixed_precision(workers.device):
                latents = vae.encode(pictures).latent_dist.mode()
                noise = random.standard_normal(latents.shape, dtype=np.float32)
                noise = torch.from_numpy(noise).to(latents) * latents.detach().std() * LATENT_NOISE
                decoded = vae.decode(latents + noise).sample
            loss = reconstruction_loss(decoded.float(), pictures)
            loss.backward()
            workers.average_gradients(vae.parameters())
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            iteration += 1
            psnr = psnr_of(decoded.detach().float(), pictures)
            values = {"loss": loss.item(), "psnr_db": psnr, "s": time.perf_counter() - started}
            if iteration % 10 == 0:
                folder.record(iteration, values)
            progress(iteration, values)
            if folder.checkpoint_is_due():
                folder.save(checkpoint())
            if workers.any(stop.asked):
                break
    folder.save(checkpoint())


def draw_pictures(dataset: Dataset, phase: Phase, random: np.random.Generator) -> Tensor:
    """Random pictures or crops of one shape, (B, 3, H, W), float32 in -1 … 1."""
    buckets = [b for b in dataset.buckets.values() if len(b)]
    counts = np.array([len(b) for b in buckets], dtype=float)
    bucket = buckets[random.choice(len(buckets), p=counts / counts.sum())]
    chosen = random.integers(len(bucket), size=phase.batch)
    pictures = []
    for index in chosen:
        picture = bucket.picture(int(index))
        if phase.crop_px:
            crop_px = min(phase.crop_px, *picture.shape[:2])
            top, left = (random.integers(side - crop_px + 1) for side in picture.shape[:2])
            picture = picture[top : top + crop_px, left : left + crop_px]
        if random.random() < 0.5:
            picture = picture[:, ::-1]
        pictures.append(np.ascontiguousarray(picture))
    return as_model_input(np.stack(pictures))


def as_model_input(pictures: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(B, H, W, 3) uint8 → (B, 3, H, W) float32 in -1 … 1, channels last in memory."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """L1, and L1 of horizontal and vertical differences at three scales."""
    loss = (decoded - pictures).abs().mean()
    for scale in range(3):
        error = decoded - pictures
        loss = loss + GRADIENT_WEIGHT * (
            error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        )
        if scale < 2:
            decoded, pictures = F.avg_pool2d(decoded, 2), F.avg_pool2d(pictures, 2)
    return loss


def psnr_of(decoded: Tensor, pictures: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1 … 1."""
    error = F.mse_loss(decoded.clamp(-1, 1), pictures)
    return float(10 * torch.log10(4 / error))


@torch.no_grad()
def whiten(vae: AutoencoderKL, latents: Tensor) -> AutoencoderKL:
    """Fold the whitening of `latents` into the VAE, in place.

    Afterwards encoded latents times `SCALING_FACTOR` have zero mean and unit covariance, the
    posterior's variance is next to nothing, and decoding gives what it gave before.

    Args:
        vae: a VAE with 1x1 quant and post-quant convolutions.
        latents: (N, 4) sample of its latents, before scaling.

    """
    mean = latents.mean(0)
    centred = latents - mean
    covariance = centred.T @ centred / len(latents)
    values, vectors = torch.linalg.eigh(covariance.double())
    forward = (vectors / values.sqrt() @ vectors.T / SCALING_FACTOR).float()
    backward = (vectors * values.sqrt() @ vectors.T * SCALING_FACTOR).float()

    quant, post = vae.quant_conv, vae.post_quant_conv
    channels = latents.shape[1]
    quant.weight[:channels] = torch.einsum("ij,jkxy->ikxy", forward, quant.weight[:channels])
    quant.bias[:channels] = forward @ (quant.bias[:channels] - mean)
    quant.weight[channels:] = 0
    quant.bias[channels:] = -20
    post.bias.copy_(post.bias + post.weight[:, :, 0, 0] @ mean)
    post.weight.copy_(torch.einsum("ijxy,jk->ikxy", post.weight, backward))
    return vae


def load_vae(run: Path, shape: ModelShape) -> AutoencoderKL:
    """Load the VAE of a run's checkpoint, not yet whitened.

    Raises:
        FileNotFoundError: the run has no checkpoint.

    """
    checkpoint = run / "checkpoint.pt"
    vae = build_vae(shape)
    vae.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["vae"])
    return vae.eval()


def shortened(settings: VaeSettings, factor: float) -> VaeSettings:
    """Return the same run with every phase `factor` as long."""
    phases = tuple(
        replace(phase, iterations=max(1, round(phase.iterations * factor)))
        for phase in settings.phases
    )
    return replace(settings, phases=phases, cooldown=max(1, round(settings.cooldown * factor)))
