"""Training of the many-step teacher: UNet and both text encoders together, from nothing.

Epsilon prediction on SDXL's noise schedule, with a tenth of the conditioning zeroed for
classifier-free guidance (SDXL's pipeline zeroes an empty negative prompt) and an average of
the weights kept for use.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from leyden_training.averaging import average_of
from leyden_training.kept_weights import KeptTeacher, averaged_weights, read_kept
from leyden_training.latents import LatentDataset, load_latents
from leyden_training.optimizer import build_optimizers, set_learning_rate
from leyden_training.parts import ModelShape, alphas_cumprod
from leyden_training.precision import mixed_precision, set_fast_attention
from leyden_training.progress import training_progress
from leyden_training.run_folder import RunFolder, StopRequest
from leyden_training.schedule import learning_rate_at
from leyden_training.teacher import Teacher, add_noise
from leyden_training.workers import Workers, on_device

__all__ = ["TeacherSettings", "load_teacher", "train_teacher"]

TIMESTEPS_A_CAPTION = 2
"""Each caption is encoded once and used at so many timesteps."""

STUDENT_TIMESTEPS = (999, 749, 499, 249)
"""Where the 4-step student samples; some of the training falls exactly there."""

STUDENT_TIMESTEP_SHARE = 0.15
DROPPED_SHARE = 0.1


@dataclass(frozen=True)
class TeacherSettings:
    """How the teacher is trained."""

    half_iterations: int = 1000
    """On halves of the pictures, before the whole ones."""

    whole_iterations: int = 1500
    half_batch: int = 48
    """Rows of each worker in each iteration; even, since each caption is used twice."""

    whole_batch: int = 24
    learning_rate: float = 2.5e-3
    warmup: int = 50
    cooldown: int = 900
    ema_decay: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("half_batch", "whole_batch"):
            batch: int = getattr(self, name)
            if batch < TIMESTEPS_A_CAPTION or batch % TIMESTEPS_A_CAPTION:
                raise ValueError(f"{name}: {batch} is not a multiple of {TIMESTEPS_A_CAPTION}")

    @property
    def iterations(self) -> int:
        """Of both sizes."""
        return self.half_iterations + self.whole_iterations


class TeacherState:
    """Everything that a checkpoint keeps."""

    def __init__(
        self,
        shape: ModelShape,
        tokenizer: CLIPTokenizer,
        settings: TeacherSettings,
        workers: Workers,
    ) -> None:
        self.iteration = 0
        self.warmed_from = 0
        """Where the learning rate began to rise: where weights alone were gone on from."""

        self._about = {
            "settings": asdict(settings),
            "shape": asdict(shape),
            "workers": workers.count,
        }
        self.teacher = on_device(Teacher(shape, tokenizer), workers.device)
        set_fast_attention(self.teacher.unet, workers.device)
        self.average = average_of(self.teacher, settings.ema_decay)
        self.optimizers = build_optimizers(self.teacher, settings.learning_rate, workers)

    def checkpoint(self) -> dict[str, Any]:
        """Return what `load` takes."""
        return {
            "iteration": self.iteration,
            "warmed_from": self.warmed_from,
            "teacher": self.teacher.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            **self._about,
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; older ones lack `warmed_from`."""
        self.iteration, self.warmed_from = saved["iteration"], saved.get("warmed_from", 0)
        self.teacher.load_state_dict(saved["teacher"])
        self.average.load_state_dict(saved["average"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def start_from(self, kept: KeptTeacher) -> None:
        """Go on from weights alone: model and average alike, and the learning rate rises anew."""
        self.iteration = self.warmed_from = kept.iteration
        self.teacher.load_state_dict(kept.weights)
        self.average.module.load_state_dict(kept.weights)
        # An average of nothing yet would be overwritten by the first update.
        self.average.n_averaged.fill_(max(1, kept.iteration))


def train_teacher(
    workers: Workers,
    *,
    latents: Path,
    run: Path,
    shape: ModelShape,
    tokenizer: CLIPTokenizer,
    settings: TeacherSettings,
    start: Path | None = None,
) -> None:
    """Train until `settings.iterations` are done or the run is told to stop.

    Args:
        workers: this process's place.
        latents: folder that `cache_latents` wrote.
        run: folder of the run; a checkpoint there is gone on from.
        shape: widths of the parts.
        tokenizer: whose vocabulary the text encoders get.
        settings: how to train.
        start: folder of kept weights to start from where there is no checkpoint.

    Raises:
        ValueError: the kept weights are of another shape or of another VAE's latents.

    """
    folder, stop = RunFolder(run, workers), StopRequest()
    torch.manual_seed(settings.seed)
    state = TeacherState(shape, tokenizer, settings, workers)
    if saved := folder.load():
        state.load(saved)
    elif start is not None:
        state.start_from(read_kept(start, shape, latents / "vae"))
    alphas = alphas_cumprod().to(workers.device)
    half, whole = load_latents(latents, half=True), load_latents(latents)
    with training_progress("teacher", settings.iterations, state.iteration, workers) as progress:
        while state.iteration < settings.iterations and not workers.any(stop.asked):
            started = time.perf_counter()
            iteration = state.iteration
            rate = learning_rate_at(
                iteration,
                total=settings.iterations,
                peak=settings.learning_rate,
                warmup=settings.warmup,
                cooldown=settings.cooldown,
                start=state.warmed_from,
            )
            set_learning_rate(state.optimizers, rate)
            on_half = iteration < settings.half_iterations
            loss = teacher_loss(
                state.teacher,
                half if on_half else whole,
                batch=settings.half_batch if on_half else settings.whole_batch,
                alphas=alphas,
                random=np.random.default_rng([settings.seed, iteration, workers.rank]),
                device=workers.device,
            )
            loss.backward()
            workers.average_gradients(state.teacher.parameters())
            for optimizer in state.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            state.average.update_parameters(state.teacher)
            state.iteration += 1
            values = {"loss": loss.item(), "s": time.perf_counter() - started}
            progress(state.iteration, values)
            if state.iteration % 10 == 0:
                folder.record(state.iteration, values)
            if folder.checkpoint_is_due():
                folder.save(state.checkpoint())
    folder.save(state.checkpoint())


def teacher_loss(
    teacher: Teacher,
    dataset: LatentDataset,
    *,
    batch: int,
    alphas: Tensor,
    random: np.random.Generator,
    device: torch.device,
) -> Tensor:
    """Weighted epsilon loss of one batch, a scalar."""
    captions = batch // TIMESTEPS_A_CAPTION
    bucket, chosen = dataset.draw(captions, random)
    words = random.integers(bucket.token_ids.shape[1], size=captions)
    token_ids = torch.from_numpy(bucket.token_ids[chosen, words]).to(device)
    clean = torch.from_numpy(np.array(bucket.latents[chosen], dtype=np.float32)).to(device)
    clean = clean.repeat_interleave(TIMESTEPS_A_CAPTION, dim=0)
    timesteps = draw_timesteps(len(clean), random).to(device)
    noise = torch.from_numpy(random.standard_normal(clean.shape, dtype=np.float32)).to(device)
    keep = torch.from_numpy(random.random(captions) >= DROPPED_SHARE).to(device)
    alpha_bar = alphas[timesteps]
    noised = add_noise(clean, noise, alpha_bar).contiguous(memory_format=torch.channels_last)

    with mixed_precision(device):
        condition = teacher.encode(token_ids, bucket.width_px, bucket.height_px)
        condition = condition.dropped(keep).repeat(TIMESTEPS_A_CAPTION)
        noise_pred = teacher(noised, timesteps, condition)
    error = (noise_pred.float() - noise).square().mean(dim=(1, 2, 3))
    loss: Tensor = (loss_weight(alpha_bar) * error).mean()
    return loss


def draw_timesteps(count: int, random: np.random.Generator) -> Tensor:
    """Timesteps (count,), spread evenly over the schedule, some on the student's own."""
    spread = (np.arange(count) + random.random(count)) / count * 1000
    timesteps = random.permutation(spread.astype(np.int64))
    on_grid = random.random(count) < STUDENT_TIMESTEP_SHARE
    timesteps[on_grid] = random.choice(STUDENT_TIMESTEPS, size=int(on_grid.sum()))
    return torch.from_numpy(timesteps)


def loss_weight(alpha_bar: Tensor) -> Tensor:
    """More weight where the picture is decided, less where only its grain is.

    min(8, 1 + 1/snr) · min(1, 6 / (snr + 1)) with snr = ᾱ / (1 - ᾱ); the second factor bounds
    the weight in terms of the clean latents, as min-SNR weighting does (arXiv 2303.09556).
    """
    snr = alpha_bar / (1 - alpha_bar)
    return (1 + 1 / snr).clamp(max=8) * (6 / (snr + 1)).clamp(max=1)


def load_teacher(run: Path, shape: ModelShape, tokenizer: CLIPTokenizer) -> Teacher:
    """Load the averaged weights of a run's checkpoint.

    Raises:
        FileNotFoundError: the run has no checkpoint.

    """
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    teacher = Teacher(shape, tokenizer)
    teacher.load_state_dict(averaged_weights(state))
    return teacher.eval()
