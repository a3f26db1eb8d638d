"""Training of the many-step teacher: UNet and both text encoders together, from nothing.

Epsilon prediction on SDXL's noise schedule, with a tenth of the conditioning zeroed for
classifier-free guidance (SDXL's pipeline zeroes an empty negative prompt) and an average of
the weights kept for use.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTokenizer

from leyden_training.latents import LatentDataset, load_latents
from leyden_training.optimizer import build_optimizers, set_learning_rate
from leyden_training.parts import (
    ModelShape,
    alphas_cumprod,
    build_text_encoders,
    build_unet,
)
from leyden_training.precision import autocast
from leyden_training.progress import training_progress
from leyden_training.run_folder import RunFolder, StopRequest
from leyden_training.schedule import learning_rate_at
from leyden_training.workers import Workers, on_device

__all__ = ["Conditioning", "Teacher", "TeacherSettings", "load_teacher", "train_teacher"]

TIMESTEPS_A_CAPTION = 2
"""Each caption is encoded once and used at so many timesteps."""

STUDENT_TIMESTEPS = (999, 749, 499, 249)
"""Where the 4-step student samples; some of the training falls exactly there."""

STUDENT_TIMESTEP_SHARE = 0.15
DROPPED_SHARE = 0.1


@dataclass(frozen=True)
class TeacherSettings:
    """How the teacher is trained."""

    half_iterations: int = 2500
    """On halves of the pictures, before the whole ones."""

    whole_iterations: int = 2500
    half_batch: int = 48
    """Rows of each worker in each iteration."""

    whole_batch: int = 24
    learning_rate: float = 2.5e-3
    warmup: int = 50
    cooldown: int = 1500
    ema_decay: float = 0.998
    seed: int = 0

    @property
    def iterations(self) -> int:
        """Of both sizes."""
        return self.half_iterations + self.whole_iterations


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told beside latents and timestep."""

    prompt_embeds: Tensor
    """(B, 77, D), zeros for a dropped caption."""

    pooled_prompt_embeds: Tensor
    """(B, P), zeros for a dropped caption."""

    add_time_ids: Tensor
    """(B, 6): original size, crop, target size; each height, width in pixels."""

    def repeat(self, times: int) -> "Conditioning":
        """Every row `times` over, side by side."""
        return Conditioning(
            *(
                t.repeat_interleave(times, dim=0)
                for t in (self.prompt_embeds, self.pooled_prompt_embeds, self.add_time_ids)
            )
        )

    def dropped(self, keep: Tensor) -> "Conditioning":
        """Zeros in the rows where `keep` (B,) is False."""
        kept = keep.to(self.prompt_embeds.dtype)
        return Conditioning(
            self.prompt_embeds * kept[:, None, None],
            self.pooled_prompt_embeds * kept[:, None],
            self.add_time_ids,
        )


class Teacher(nn.Module):
    """UNet and text encoders, as they are trained together."""

    def __init__(self, shape: ModelShape, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.unet = build_unet(shape)
        self.text_encoder, self.text_encoder_2 = build_text_encoders(shape, tokenizer)

    def encode(self, token_ids: Tensor, width_px: int, height_px: int) -> Conditioning:
        """Token ids (B, 2, 77) → conditioning, as StableDiffusionXLPipeline makes it."""
        first = self.text_encoder(token_ids[:, 0], output_hidden_states=True)
        second = self.text_encoder_2(token_ids[:, 1], output_hidden_states=True)
        size = torch.tensor(
            [[height_px, width_px, 0, 0, height_px, width_px]],
            dtype=torch.float32,
            device=token_ids.device,
        )
        return Conditioning(
            torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
            second.text_embeds,
            size.repeat(len(token_ids), 1),
        )

    def forward(self, latents: Tensor, timesteps: Tensor, condition: Conditioning) -> Tensor:
        """`noise_pred` (B, 4, H/8, W/8) of noised latents; timesteps (B,)."""
        return predict(self.unet, latents, timesteps, condition)


def predict(unet: nn.Module, latents: Tensor, timesteps: Tensor, condition: Conditioning) -> Tensor:
    """Return the UNet's prediction, (B, 4, H/8, W/8)."""
    out: Tensor = unet(
        latents,
        timesteps,
        condition.prompt_embeds,
        added_cond_kwargs={
            "text_embeds": condition.pooled_prompt_embeds,
            "time_ids": condition.add_time_ids,
        },
        return_dict=False,
    )[0]
    return out


def add_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """√ᾱ · latents + √(1 - ᾱ) · noise, with one ᾱ for each row."""
    a = alpha_bar[:, None, None, None]
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def train_teacher(
    workers: Workers,
    *,
    latents: Path,
    run: Path,
    shape: ModelShape,
    tokenizer: CLIPTokenizer,
    settings: TeacherSettings,
) -> None:
    """Train until `settings.iterations` are done or the run is told to stop.

    Args:
        workers: this process's place.
        latents: folder that `cache_latents` wrote.
        run: folder of the run; a checkpoint there is gone on from.
        shape: widths of the parts.
        tokenizer: whose vocabulary the text encoders get.
        settings: how to train.

    """
    folder, stop = RunFolder(run, workers), StopRequest()
    torch.manual_seed(settings.seed)
    teacher = on_device(Teacher(shape, tokenizer), workers.device)
    average = AveragedModel(teacher, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    optimizers = build_optimizers(teacher, settings.learning_rate, workers)
    iteration = 0
    if state := folder.load():
        iteration = state["iteration"]
        teacher.load_state_dict(state["teacher"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state.get("optimizers", ()), strict=False):
            optimizer.load_state_dict(saved)
    alphas = alphas_cumprod().to(workers.device)

    def checkpoint() -> dict[str, Any]:
        return {
            "iteration": iteration,
            "teacher": teacher.state_dict(),
            "average": average.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
        }

    half, whole = load_latents(latents, half=True), load_latents(latents)
    with training_progress("teacher", settings.iterations, iteration, workers) as progress:
        while iteration < settings.iterations:
            started = time.perf_counter()
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
            on_half = iteration < settings.half_iterations
            loss = teacher_loss(
                teacher,
                half if on_half else whole,
                batch=settings.half_batch if on_half else settings.whole_batch,
                alphas=alphas,
                random=np.random.default_rng([settings.seed, iteration, workers.rank]),
                device=workers.device,
            )
            loss.backward()
            workers.average_gradients(teacher.parameters())
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            average.update_parameters(teacher)
            iteration += 1
            values = {"loss": loss.item(), "s": time.perf_counter() - started}
            progress(iteration, values)
            if iteration % 10 == 0:
                folder.record(iteration, values)
            if folder.checkpoint_is_due():
                folder.save(checkpoint())
            if workers.any(stop.asked):
                break
    folder.save(checkpoint())


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

    with autocast(device):
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


def load_teacher(
    run: Path, shape: ModelShape, tokenizer: CLIPTokenizer, *, averaged: bool = True
) -> Teacher:
    """Load the teacher of a run's checkpoint, its averaged weights by default."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    teacher = Teacher(shape, tokenizer)
    if averaged:
        weights = {
            name.removeprefix("module."): value
            for name, value in state["average"].items()
            if name.startswith("module.")
        }
        teacher.load_state_dict(weights)
    else:
        teacher.load_state_dict(state["teacher"])
    return teacher.eval()
