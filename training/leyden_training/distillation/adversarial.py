"""The adversarial losses of one iteration, and feature matching.

The losses are relativistic and paired (Jolicoeur-Martineau, arXiv 1807.00734; Huang et al., arXiv
2501.05441, without that paper's gradient penalties): what counts is by how much the discriminator
finds the teacher's end more of a teacher's than the student's end of the same step, under the same
noise. The usual losses of SDXL-Lightning judge each end by itself, and two ends of one step differ
far less than two prompts do: in 180 iterations of 16 rows such a discriminator told 60 in 100 ends
of the 1-step student from its teacher's by themselves, and 95 in 100 side by side
(docs/distillation.md).
"""

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
    """(B,), of the noise."""

    student: Tensor
    """(B, 4, H/8, W/8), float32, like `teacher`."""

    teacher: Tensor


@dataclass(frozen=True)
class AdversarialLosses:
    """The relativistic adversarial losses and feature matching of one iteration."""

    discriminator: Discriminator
    levels: NoiseLevels
    stage: Stage
    conditional: bool

    @property
    def weight(self) -> float:
        """Of the adversarial objective that is on; zero where it is switched off."""
        weights = self.stage.weights
        return weights.conditional if self.conditional else weights.unconditional

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
        """Return what the student is to lower; a loss that is off is not computed."""
        loss = torch.zeros((), device=views.student.device)
        self.discriminator.requires_grad_(False)
        wanted = self._teacher_features(lesson, views)
        with mixed_precision(views.student.device):
            fake = self.discriminator.features(views.student, views.timesteps, lesson.condition)
        if self.weight:
            with mixed_precision(views.student.device), torch.no_grad():
                start = self._start(lesson)
                real_logits = self.discriminator.logits(wanted, start)
            with mixed_precision(views.student.device):
                fake_logits = self.discriminator.logits(fake, start)
            generator = F.softplus(real_logits - fake_logits).mean()
            values["generator"] = generator.item()
            loss = loss + self.weight * generator
        if self.stage.weights.feature_matching:
            features = feature_distance(fake, wanted)
            values["features"] = features.item()
            loss = loss + self.stage.weights.feature_matching * features
        self.discriminator.requires_grad_(True)
        return loss

    def of_discriminator(self, lesson: Lesson, views: Views, values: dict[str, float]) -> Tensor:
        """Return what the discriminator is to lower.

        The unconditional heads learn beside the conditional ones, from the same features, so that
        they know something by the time that the student is judged by them.
        """
        discriminator = self.discriminator
        with mixed_precision(views.student.device):
            start = self._start(lesson)
            teacher, student = (
                discriminator.features(x.detach(), views.timesteps, lesson.condition)
                for x in (views.teacher, views.student)
            )
            starts = [start]
            if self.conditional and self.stage.weights.unconditional:
                starts.append(None)
            pairs = [
                (discriminator.logits(teacher, s), discriminator.logits(student, s)) for s in starts
            ]
        losses = [F.softplus(fake - real).mean() for real, fake in pairs]
        real, fake = pairs[0]
        values["discriminator"] = losses[0].item()
        values["accuracy"] = (real.mean(1) > fake.mean(1)).float().mean().item()
        return torch.stack(losses).mean()

    def _start(self, lesson: Lesson) -> list[Tensor] | None:
        if not self.conditional:
            return None
        return self.discriminator.features(lesson.start, lesson.timesteps, lesson.condition)

    @torch.no_grad()
    def _teacher_features(self, lesson: Lesson, views: Views) -> list[Tensor]:
        with mixed_precision(views.teacher.device):
            return self.discriminator.features(views.teacher, views.timesteps, lesson.condition)


def feature_distance(features: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean L1 distance of the blocks' features, each as a share of the wanted ones' size."""
    distances = [
        (f.float() - w.float()).abs().mean() / w.float().abs().mean()
        for f, w in zip(features, wanted, strict=True)
    ]
    return torch.stack(distances).mean()
