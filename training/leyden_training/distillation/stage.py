"""The stages of a progressive distillation, each a fixed recipe."""

from dataclasses import dataclass, replace

from leyden_training.distillation.steps import Prediction

__all__ = ["LossWeights", "Stage", "usual_stages"]


@dataclass(frozen=True)
class LossWeights:
    """What each term counts; zero switches it off and costs nothing."""

    distillation: float = 1.0
    """Mean squared distance of the student's step end from its teacher's."""

    conditional: float = 0.05
    """Adversarial, seeing where the step began."""

    unconditional: float = 0.05
    """Adversarial, seeing where the step ended alone; in the last part of a stage."""

    feature_matching: float = 0.1
    """L1 distance of the discriminator's features of the two ends."""

    @property
    def adversarial(self) -> bool:
        """Whether a discriminator is needed at all."""
        return bool(self.conditional or self.unconditional or self.feature_matching)


@dataclass(frozen=True)
class Stage:
    """One stage: a student of `steps` steps, taught by a model of `teacher_steps`."""

    steps: int
    teacher_steps: int
    guidance_scale: float = 0.0
    """The teacher's; above 1 guidance is folded into the student."""

    teacher_prediction: Prediction = "epsilon"
    prediction: Prediction = "epsilon"
    distillation_iterations: int = 300
    """With the distillation loss alone."""

    conditional_iterations: int = 300
    """With the conditional adversarial loss beside it."""

    unconditional_iterations: int = 150
    """With the unconditional one in place of the conditional one."""

    batch: int = 16
    """Rows of each worker in each iteration."""

    learning_rate: float = 3e-4
    discriminator_learning_rate: float = 3e-4
    ema_decay: float = 0.99
    weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if self.teacher_steps % self.steps:
            raise ValueError(
                f"a teacher of {self.teacher_steps} steps cannot teach one of {self.steps}: "
                "its number must be a multiple"
            )

    def scaled(self, factor: float) -> "Stage":
        """Return the same recipe with every part `factor` as long."""
        parts = ("distillation_iterations", "conditional_iterations", "unconditional_iterations")
        return replace(self, **{part: round(getattr(self, part) * factor) for part in parts})

    @property
    def iterations(self) -> int:
        """Of all parts."""
        return (
            self.distillation_iterations
            + self.conditional_iterations
            + self.unconditional_iterations
        )

    @property
    def substeps(self) -> int:
        """Steps of the teacher for one of the student."""
        return self.teacher_steps // self.steps

    def conditional_at(self, iteration: int) -> bool:
        """Whether the conditional objective is on."""
        first = self.distillation_iterations
        return first <= iteration < first + self.conditional_iterations

    def unconditional_at(self, iteration: int) -> bool:
        """Whether the unconditional objective is on."""
        return iteration >= self.distillation_iterations + self.conditional_iterations


def usual_stages(teacher_steps: int = 32, guidance_scale: float = 2.5) -> tuple[Stage, ...]:
    """Return the stages down to 8, 4, 2 and 1 steps.

    The first folds guidance in by the distillation loss alone, as in the paper; each student is
    the next stage's teacher. The last predicts x_0, since at full noise epsilon says nothing
    about the picture.
    """
    return (
        Stage(
            steps=8,
            teacher_steps=teacher_steps,
            guidance_scale=guidance_scale,
            distillation_iterations=600,
            conditional_iterations=0,
            unconditional_iterations=0,
        ),
        Stage(steps=4, teacher_steps=8),
        Stage(steps=2, teacher_steps=4),
        Stage(steps=1, teacher_steps=2, prediction="sample", distillation_iterations=600),
    )
