"""The adversarial losses of one iteration, and feature matching."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from leyden_training.distillation.discriminator import Discriminator
from leyden_training.distillation.lesson import Lesson, draw_noise
from leyden_training.distillation.stage import Stage
from leyden_training.distillation.steps import NoiseLevels, add_more_noise
from leyden_training.precision import mixed_precision

__all__ = ["AdversarialLosses", "Views"]

DISCRIMINATOR_TIMESTEPS = (10, 250, 500, 750)
"""Noise levels, beside the step's own end, at which the discriminator looks: those of the
SDXL-Lightning paper. Noise lets it judge the picture's layout too, and not only its grain."""


@dataclass(frozen=True)
class Views:
    """The two ends of each step as the discriminator gets them: noised alike."""

    timesteps: Tensor
    student: Tensor
    teacher: Tensor


@dataclass(frozen=True)
class AdversarialLosses:
    """The non-saturating adversarial losses and feature matching of one iteration."""

    discriminator: Discriminator
    levels: NoiseLevels
    stage: Stage
    conditional: bool

    def views(self, lesson: Lesson, end: Tensor, random: np.random.Generator) -> Views:
        """Both ends with the same noise, each row at a level drawn for it."""
        at = lesson.next_timesteps.clamp(min=0).cpu().numpy()
        chosen = np.array(
            [random.choice([t, *(d for d in DISCRIMINATOR_TIMESTEPS if d > t)]) for t in at]
        )
        later = torch.from_numpy(chosen).to(end.device)
        noise = draw_noise(end.shape, random, end.device)
        return Views(
            later,
            *(
                add_more_noise(
                    x,
                    noise,
                    levels=self.levels,
                    timesteps=lesson.next_timesteps,
                    later=later,
                )
                for x in (end, lesson.teacher_end)
            ),
        )

    def of_student(self, lesson: Lesson, views: Views, values: dict[str, float]) -> Tensor:
        """Return what the student is to lower."""
        weights = self.stage.weights
        self.discriminator.requires_grad_(False)
        with mixed_precision(views.student.device):
            start = self._start(lesson)
            fake = self.discriminator.features(views.student, views.timesteps, lesson.condition)
            logits = self.discriminator.logits(fake, start).float()
            with torch.no_grad():
                real = self.discriminator.features(views.teacher, views.timesteps, lesson.condition)
        self.discriminator.requires_grad_(True)
        generator = F.softplus(-logits).mean()
        features = torch.stack(
            [
                (f.float() - r.float()).abs().mean() / r.float().abs().mean()
                for f, r in zip(fake, real, strict=True)
            ]
        ).mean()
        values["generator"], values["features"] = generator.item(), features.item()
        weight = weights.conditional if self.conditional else weights.unconditional
        return weight * generator + weights.feature_matching * features

    def of_discriminator(self, lesson: Lesson, views: Views, values: dict[str, float]) -> Tensor:
        """Return what the discriminator is to lower."""
        with mixed_precision(views.student.device):
            start = self._start(lesson)
            real, fake = (
                self.discriminator.logits(
                    self.discriminator.features(x.detach(), views.timesteps, lesson.condition),
                    start,
                ).float()
                for x in (views.teacher, views.student)
            )
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        values["discriminator"] = loss.item()
        values["accuracy"] = ((real > 0).float().mean() + (fake < 0).float().mean()).item() / 2
        return loss

    def _start(self, lesson: Lesson) -> list[Tensor] | None:
        if not self.conditional:
            return None
        return self.discriminator.features(lesson.start, lesson.timesteps, lesson.condition)
