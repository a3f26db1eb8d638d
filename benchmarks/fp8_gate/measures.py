"""What tells a model's pictures in one precision from those in another."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.fp8_gate.choice import Measured
from leyden_training.data.render import render
from leyden_training.evaluation.classifier import AttributeClassifier
from leyden_training.evaluation.frechet import bootstrap_distances
from leyden_training.evaluation.intervals import Estimate, Floats, resamples
from leyden_training.evaluation.prompts import Prompt, traits
from leyden_training.evaluation.statistics import statistics
from leyden_training.evaluation.two_sample import answers, side_by_side, singly

__all__ = ["Comparison", "main_axes", "psnr_db"]

DRAWS = 1000
"""Of every bootstrap."""
RENDERINGS = 4
"""Of each prompt's scene; the Fréchet distance is to all of them."""
AXES = 8
"""Main axes of the two-sample test's statistics, on which the Fréchet distance is taken. A
covariance of these has 36 numbers, which the few pictures here determine. On the classifier's
features, which the evaluation has, these pictures differ from the renderer's by so little that the
bias of few pictures is all that is left of the distance, and no ratio of two has an interval."""


class Comparison:
    """Compares pictures of one subject with its pictures in float32 and in bfloat16.

    Every picture is of the same prompt and of the same noise as those it is compared with, so
    nothing but the precision can tell them apart.
    """

    def __init__(
        self,
        subject: str,
        prompts: Sequence[Prompt],
        classifier: AttributeClassifier,
        *,
        float32: torch.Tensor,
        bfloat16: torch.Tensor,
    ) -> None:
        """Take pictures (N, H, W, 3), 0 … 1, one for each prompt."""
        self._subject, self._classifier, self._exact = subject, classifier, float32
        self._known = traits(tuple(prompts))
        self._draws = resamples(len(prompts), DRAWS)
        rendered = statistics(classifier, np.concatenate([_rendered(prompt) for prompt in prompts]))
        self._bfloat16 = _Seen(bfloat16, float32, classifier)
        self._scale = rendered.std(axis=0) + 1e-6
        together = [rendered, np.repeat(self._bfloat16.statistics, RENDERINGS, axis=0)]
        self._axes = main_axes(np.concatenate(together) / self._scale, AXES)
        self._reference = self._features(rendered).reshape(len(prompts), RENDERINGS, AXES)

    def of_bfloat16(self) -> dict[str, object]:
        """Describe the pictures in bfloat16: what all others are held against."""
        exact = _Seen(self._exact, self._exact, self._classifier)
        distances = self._distances({"bfloat16": self._bfloat16, "float32": exact})
        logits = answers(exact.statistics, self._bfloat16.statistics, self._known)
        return {
            "psnr_db": _mean(self._bfloat16.psnr_db, self._draws).interval().as_json(),
            "frechet": distances["bfloat16"].interval().as_json(),
            "frechet_ratio_to_float32": distances["bfloat16"]
            .over(distances["float32"])
            .interval()
            .as_json(),
            "told_from_float32": singly(logits, self._draws).interval().as_json(),
            "side_by_side_with_float32": side_by_side(logits, self._draws).interval().as_json(),
        }

    def measured(self, pictures: torch.Tensor) -> Measured:
        """Compare pictures (N, H, W, 3), 0 … 1, of a UNet some of whose products are rounded."""
        seen, draws = _Seen(pictures, self._exact, self._classifier), self._draws
        distances = self._distances({"float8": seen, "bfloat16": self._bfloat16})
        logits = answers(self._bfloat16.statistics, seen.statistics, self._known)
        return Measured(
            subject=self._subject,
            psnr_db=_mean(seen.psnr_db, draws).interval(),
            psnr_loss_db=_mean(self._bfloat16.psnr_db - seen.psnr_db, draws).interval(),
            frechet_ratio=distances["float8"].over(distances["bfloat16"]).interval(),
            told_apart=singly(logits, draws).interval(),
            side_by_side=side_by_side(logits, draws).interval(),
        )

    def _features(self, found: Floats) -> Floats:
        """Return what statistics (N, S) are on the main axes, (N, AXES)."""
        features: Floats = found / self._scale @ self._axes
        return features

    def _distances(self, sets: "dict[str, _Seen]") -> dict[str, Estimate]:
        features = {name: self._features(seen.statistics) for name, seen in sets.items()}
        return bootstrap_distances(self._reference, features, self._draws)


class _Seen:
    """What is seen of a set of pictures (N, H, W, 3)."""

    def __init__(
        self,
        pictures: torch.Tensor,
        exact: torch.Tensor,
        classifier: AttributeClassifier,
    ) -> None:
        # As they are sent: what a classifier, or a person, gets to see.
        pixels = (pictures * 255).round().to(torch.uint8).numpy()
        self.psnr_db = psnr_db(pictures, exact)
        self.statistics = statistics(classifier, pixels)


def psnr_db(pictures: torch.Tensor, exact: torch.Tensor) -> Floats:
    """Return the PSNR (N,) of pictures (N, …) of 0 … 1 before they become bytes.

    Bytes would hide what lies below their own rounding, at 59 dB, from one precision more than
    from another.
    """
    squares = (pictures.double() - exact.double()).square().flatten(1).mean(dim=1)
    with np.errstate(divide="ignore"):
        decibels: Floats = -10 * np.log10(squares.numpy())
    return decibels


def main_axes(features: Floats, count: int) -> Floats:
    """Return the directions (D, count) in which features (N, D) vary most, each of length 1."""
    _, _, directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    axes: Floats = directions[:count].T
    return axes


def _mean(values: Floats, draws: npt.NDArray[np.int64]) -> Estimate:
    return Estimate(float(values.mean()), values[draws].mean(axis=1))


def _rendered(prompt: Prompt) -> npt.NDArray[np.uint8]:
    item = prompt.item
    seeds = np.random.default_rng(item.render_seed).integers(2**62, size=RENDERINGS)
    return np.stack(
        [
            render(item.scene, width_px=item.width_px, height_px=item.height_px, seed=int(seed))
            for seed in seeds
        ]
    )
