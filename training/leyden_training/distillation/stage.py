"""The stages of a progressive distillation, each a fixed recipe."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from leyden_training.distillation.steps import Prediction

__all__ = ["GUIDANCE_SCALE", "HEAD_START", "PARTS", "TEACHER_STEPS", "LossWeights", "Part"]
__all__ += ["Stage", "usual_stages"]

TEACHER_STEPS = 32
"""Of the many-step teacher, in the first stage."""

GUIDANCE_SCALE = 2.5
"""Of the many-step teacher: folded in by the first stage, and what it is compared at."""

Part = Literal["distillation", "conditional", "unconditional", "feature-matching", "adversarial"]
"""A loss that can be switched off; "adversarial" is all that need a discriminator."""

PARTS: tuple[Part, ...] = get_args(Part)
ADVERSARIAL: frozenset[Part] = frozenset({"conditional", "unconditional", "feature-matching"})


HEAD_START = 20
"""Iterations of the adversarial pull's rise to its share: the discriminator's heads begin random,
and at first know nothing that a student should follow. (VQGAN's trainer keeps its discriminator's
loss from the model for a number of steps; to the same end.)"""


@dataclass(frozen=True)
class LossWeights:
    """What each term counts; zero switches it off.

    Those of the adversarial terms are among themselves: how hard they pull together is the
    stage's `adversarial_share`.
    """

    distillation: float = 1.0
    """Mean squared distance of the student's step end from its teacher's."""

    conditional: float = 1.0
    """Adversarial, seeing where the step began."""

    unconditional: float = 1.0
    """Adversarial, seeing where the step ended alone; in the last part of a stage."""

    feature_matching: float = 2.0
    """L1 distance of the discriminator's features of the two ends. At the same weight its
    gradient is a quarter of the adversarial one's."""

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
    distillation_iterations: int = 90
    """With the distillation loss alone."""

    conditional_iterations: int = 90
    """With the conditional adversarial loss beside it."""

    unconditional_iterations: int = 45
    """With the unconditional one in place of the conditional one."""

    batch: int = 16
    """Rows of each worker in each iteration."""

    learning_rate: float = 3e-4
    discriminator_learning_rate: float = 3e-4
    adversarial_share: float = 1.0
    """Size of the adversarial terms' gradient at the step's end, as a multiple of the distillation
    loss's there, or of 1 where that loss is off. By themselves the gradients differ by a factor of
    4,000 at 4 steps and of 50 at 1: the squared distance is 5e-4 there, and 0.07 here."""

    ema_decay: float = 0.99
    weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        if self.teacher_steps % self.steps:
            raise ValueError(
                f"a teacher of {self.teacher_steps} steps cannot teach one of {self.steps}: "
                "its number must be a multiple"
            )

    def scaled(self, factor: float) -> "Stage":
        """Return the same recipe with every part that it has `factor` as long."""
        parts = ("distillation_iterations", "conditional_iterations", "unconditional_iterations")
        lengths = {part: getattr(self, part) for part in parts}
        return replace(self, **{p: max(1, round(n * factor)) for p, n in lengths.items() if n})

    def without(self, parts: Collection[Part]) -> "Stage":
        """Return the same recipe, as long, with losses switched off.

        An adversarial objective that is off leaves its iterations to the other one; with both
        off, feature matching keeps them, on a discriminator that is not trained. Without the
        distillation loss the adversarial losses begin at once.

        Raises:
            ValueError: nothing would be left to learn from.

        """
        off = set(parts) | (ADVERSARIAL if "adversarial" in parts else set())
        weights = LossWeights(
            **{
                name: 0.0 if name.replace("_", "-") in off else weight
                for name, weight in asdict(self.weights).items()
            }
        )
        if not (weights.distillation or weights.adversarial):
            raise ValueError(f"without {', '.join(sorted(parts))} no loss is left")
        first = self.distillation_iterations
        conditional, unconditional = self.conditional_iterations, self.unconditional_iterations
        if not weights.distillation:
            first, conditional = 0, first + conditional
        if weights.conditional and not weights.unconditional:
            conditional, unconditional = conditional + unconditional, 0
        elif weights.unconditional and not weights.conditional:
            conditional, unconditional = 0, conditional + unconditional
        return replace(
            self,
            weights=weights,
            distillation_iterations=first,
            conditional_iterations=conditional,
            unconditional_iterations=unconditional,
        )

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

    def adversarial_share_at(self, iteration: int) -> float:
        """Return `adversarial_share`, or what of it has risen by then."""
        risen = (iteration + 1 - self.distillation_iterations) / HEAD_START
        return self.adversarial_share * min(1.0, max(0.0, risen))


def usual_stages(
    teacher_steps: int = TEACHER_STEPS, guidance_scale: float = GUIDANCE_SCALE
) -> tuple[Stage, ...]:
    """Return the stages down to 8, 4, 2 and 1 steps.

    The first folds guidance in by the distillation loss alone, as in the paper; each student is
    the next stage's teacher. The last predicts x_0, since at full noise epsilon says nothing
    about the picture; what it predicts changes altogether, so it learns faster and longest. The
    fewer the steps, the more of the squared distance is blur that cannot be told in advance, and
    the harder the adversarial terms pull beside it. At these lengths two cores make students of
    8 and 4 steps that are not told from the teacher (docs/distillation.md).
    """
    return (
        Stage(
            steps=8,
            teacher_steps=teacher_steps,
            guidance_scale=guidance_scale,
            distillation_iterations=210,
            conditional_iterations=0,
            unconditional_iterations=0,
        ),
        Stage(steps=4, teacher_steps=8, learning_rate=1e-4),
        Stage(
            steps=2,
            teacher_steps=4,
            distillation_iterations=150,
            conditional_iterations=100,
            unconditional_iterations=50,
            learning_rate=1e-4,
            adversarial_share=2.0,
        ),
        Stage(
            steps=1,
            teacher_steps=2,
            prediction="sample",
            distillation_iterations=350,
            conditional_iterations=100,
            unconditional_iterations=100,
            learning_rate=1e-3,
            adversarial_share=5.0,
        ),
    )
