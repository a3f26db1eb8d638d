"""Prompt adherence: of the attributes that the prompts state, the share that the pictures show.

What a picture shows is the attribute classifier's likeliest class. What a prompt does not state
is the model's to choose and counts for nothing.
"""

import numpy as np
import numpy.typing as npt

from leyden_training.data.scene import ATTRIBUTES
from leyden_training.evaluation.intervals import Estimate

__all__ = ["OVERALL", "adherence"]

OVERALL = "overall"


def adherence(
    found: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    stated: npt.NDArray[np.bool_],
    draws: npt.NDArray[np.int64],
) -> dict[str, Estimate]:
    """Recovered share, over all stated attributes and of each attribute that is ever stated.

    Args:
        found: (N, A) classes in the pictures, in the order of ATTRIBUTES.
        wanted: (N, A) classes in the prompts' scenes.
        stated: (N, A), whether the prompt states the attribute.
        draws: (R, N), prompts drawn with replacement.

    """
    hits = (found == wanted) & stated
    shares = {OVERALL: _share(hits.sum(axis=1), stated.sum(axis=1), draws)}
    for column, name in enumerate(ATTRIBUTES):
        if stated[:, column].any():
            shares[name] = _share(hits[:, column], stated[:, column], draws)
    return shares


def _share(
    hits: npt.NDArray[np.generic], stated: npt.NDArray[np.generic], draws: npt.NDArray[np.int64]
) -> Estimate:
    right, said = hits.astype(float), stated.astype(float)
    with np.errstate(invalid="ignore"):  # a draw may have no prompt that states it
        values = right[draws].sum(axis=1) / said[draws].sum(axis=1)
    return Estimate(float(right.sum() / said.sum()), values)
