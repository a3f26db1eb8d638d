"""Training of the attribute classifier on rendered pictures.

Every twentieth picture is held out, to say how far the classifier itself can be trusted. It
must judge what a picture shows and not how crisply a decoder drew it, so it is shown blurred,
tinted, contrasted and noisy pictures, and some as a VAE gives them back.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL
from torch import Tensor

from leyden_training.averaging import average_of
from leyden_training.data.dataset import Bucket, Dataset, load_dataset
from leyden_training.data.scene import ATTRIBUTES
from leyden_training.evaluation.classifier import AttributeClassifier, judge, reduced
from leyden_training.evaluation.intervals import wilson
from leyden_training.optimizer import build_optimizers, set_learning_rate
from leyden_training.precision import mixed_precision
from leyden_training.progress import training_progress
from leyden_training.run_folder import RunFolder, StopRequest
from leyden_training.schedule import learning_rate_at
from leyden_training.vae_training import as_model_input
from leyden_training.workers import Workers, on_device

__all__ = ["ClassifierSettings", "train_classifier"]

HELD_OUT_EVERY = 20
"""One picture in so many is never trained on."""

JUDGED_PICTURES = 1024
"""At most so many held-out pictures of each size are judged at the end."""


@dataclass(frozen=True)
class ClassifierSettings:
    """How the classifier is trained."""

    iterations: int = 500
    batch: int = 64
    """Pictures of each worker in each iteration."""

    reconstructed: int = 4
    """Of which so many pass through the VAE, where there is one."""

    learning_rate: float = 2e-3
    warmup: int = 20
    ema_decay: float = 0.98
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.reconstructed <= self.batch:
            raise ValueError(f"reconstructed: {self.reconstructed} is outside [0, {self.batch}]")


def train_classifier(
    workers: Workers, data: Path, run: Path, settings: ClassifierSettings, vae: Path | None = None
) -> None:
    """Train until `settings.iterations` are done or the run is told to stop.

    Args:
        workers: this process's place.
        data: folder of a rendered data set.
        run: folder of the run; a checkpoint there is gone on from. At the end the averaged
            weights are written to `classifier.pt`, held-out accuracies to `accuracy.json`.
        settings: how to train.
        vae: folder of a VAE whose reconstructions are shown too, if any.

    """
    folder, stop = RunFolder(run, workers), StopRequest()
    torch.manual_seed(settings.seed)
    classifier = on_device(AttributeClassifier(), workers.device)
    average = average_of(classifier, settings.ema_decay)
    optimizers = build_optimizers(classifier, settings.learning_rate, workers)
    parts: dict[str, Any] = {"classifier": classifier, "average": average}
    parts |= {f"optimizer_{i}": optimizer for i, optimizer in enumerate(optimizers)}
    iteration = 0
    if state := folder.load():
        iteration = state["iteration"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
    dataset, augmentation = load_dataset(data), Augmentation(settings, _load(vae, workers))

    def checkpoint() -> dict[str, Any]:
        return {"iteration": iteration} | {name: p.state_dict() for name, p in parts.items()}

    with training_progress("classifier", settings.iterations, iteration, workers) as progress:
        while iteration < settings.iterations:
            rate = learning_rate_at(
                iteration,
                total=settings.iterations,
                peak=settings.learning_rate,
                warmup=settings.warmup,
                cooldown=settings.iterations // 2,
            )
            set_learning_rate(optimizers, rate)
            random = np.random.default_rng([settings.seed, iteration, workers.rank])
            pictures, attributes = draw_pictures(dataset, settings.batch, random)
            shown = augmentation(as_model_input(pictures).to(workers.device), random)
            truth = torch.from_numpy(attributes).to(workers.device)
            with mixed_precision(workers.device):
                logits = classifier(shown.contiguous(memory_format=torch.channels_last))
            losses = [F.cross_entropy(x.float(), truth[:, i]) for i, x in enumerate(logits)]
            loss = torch.stack(losses).sum()
            loss.backward()
            workers.average_gradients(classifier.parameters())
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            average.update_parameters(classifier)
            iteration += 1
            right = torch.stack([x.argmax(1) for x in logits], 1) == truth
            values = {"loss": loss.item(), "accuracy": right.float().mean().item()}
            progress(iteration, values)
            if iteration % 10 == 0:
                folder.record(iteration, values)
            if folder.checkpoint_is_due():
                folder.save(checkpoint())
            if workers.any(stop.asked):
                break
    folder.save(checkpoint())
    if iteration == settings.iterations and workers.first:
        judged = classifier.eval()
        judged.load_state_dict(average.module.state_dict())
        accuracy = held_out_accuracy(judged, dataset)
        (run / "accuracy.json").write_text(json.dumps(accuracy, indent=2) + "\n")
        part = run / "classifier.pt.part"
        torch.save(judged.state_dict(), part)
        part.replace(run / "classifier.pt")


def _load(vae: Path | None, workers: Workers) -> AutoencoderKL | None:
    if vae is None:
        return None
    loaded = AutoencoderKL.from_pretrained(vae, dtype=torch.float32)
    return on_device(loaded, workers.device).eval()


@dataclass(frozen=True)
class Augmentation:
    """What is done to pictures (B, 3, H, W) in [-1, 1] before the classifier sees them reduced."""

    settings: ClassifierSettings
    vae: AutoencoderKL | None

    @torch.no_grad()
    def __call__(self, pictures: Tensor, random: np.random.Generator) -> Tensor:
        """Reconstruct some and reduce all; then mirror, blur, tint and contrast each by chance."""
        count, device = len(pictures), pictures.device

        def drawn(low: float, high: float, channels: int = 1) -> Tensor:
            values = random.uniform(low, high, (count, channels, 1, 1)).astype(np.float32)
            return torch.from_numpy(values).to(device)

        if self.vae is not None and (some := self.settings.reconstructed):
            with mixed_precision(device):
                latents = self.vae.encode(_multiple_of_eight(pictures[:some])).latent_dist.mode()
                decoded = self.vae.decode(latents).sample.float()
            pictures = pictures.clone()
            pictures[:some] = F.interpolate(decoded, size=pictures.shape[2:], mode="bilinear")
        pictures = reduced(pictures)
        pictures = torch.where(drawn(0, 1) < 0.5, pictures, pictures.flip(-1))
        blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        pictures = pictures.lerp(blurred, drawn(-0.3, 0.9).clamp(min=0))
        mean = pictures.mean(dim=(2, 3), keepdim=True)
        pictures = mean + (pictures - mean) * drawn(0.85, 1.15)
        pictures = pictures * drawn(0.94, 1.06, 3) + drawn(-0.06, 0.06, 3)
        noise = torch.from_numpy(random.standard_normal(pictures.shape, dtype=np.float32))
        return (pictures + noise.to(device) * drawn(0, 0.03)).clamp(-1, 1)


def _multiple_of_eight(pictures: Tensor) -> Tensor:
    height, width = (side // 8 * 8 for side in pictures.shape[2:])
    return pictures[:, :, :height, :width].contiguous(memory_format=torch.channels_last)


def draw_pictures(
    dataset: Dataset, count: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pictures of one size that are not held out, (B, H, W, 3), and their attributes (B, A)."""
    buckets = [bucket for bucket in dataset.buckets.values() if len(bucket) > 1]
    sizes = np.array([len(bucket) for bucket in buckets], dtype=float)
    bucket = buckets[random.choice(len(sizes), p=sizes / sizes.sum())]
    trained = np.setdiff1d(np.arange(len(bucket)), held_out(bucket))
    chosen = random.choice(trained, size=count)
    return np.stack([bucket.picture(int(i)) for i in chosen]), bucket.attributes[chosen]


def held_out(bucket: Bucket) -> npt.NDArray[np.int64]:
    """Positions in a bucket that are never trained on."""
    return np.arange(0, len(bucket), HELD_OUT_EVERY)


def held_out_accuracy(
    classifier: AttributeClassifier, dataset: Dataset
) -> dict[str, dict[str, float | None]]:
    """Share of held-out pictures that each attribute is told right of, with its interval."""
    right = np.concatenate(list(_right(classifier, dataset)))
    return {
        name: {"pictures": len(right), **wilson(int(right[:, i].sum()), len(right)).as_json()}
        for i, name in enumerate(ATTRIBUTES)
    }


def _right(classifier: AttributeClassifier, dataset: Dataset) -> Iterator[npt.NDArray[np.bool_]]:
    for bucket in dataset.buckets.values():
        positions = held_out(bucket)[:JUDGED_PICTURES]
        if len(positions):
            pictures = np.stack([bucket.picture(int(i)) for i in positions])
            yield judge(classifier, pictures).classes == bucket.attributes[positions]
