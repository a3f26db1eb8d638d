"""Which words the captions teach a model: what its `model.yaml` lists as `known_words`."""

import re

import numpy as np

from leyden_training.data.captions import caption
from leyden_training.data.scene import sample_scene

__all__ = ["SAY_NOTHING", "known_words"]

SAY_NOTHING = frozenset(
    ("a", "an", "and", "at", "by", "full", "in", "of", "on", "over", "some", "the", "under", "with")
)
"""Words of the captions that show nothing by themselves."""

_CAPTIONS = 5000
"""So many captions say every word: the rarest one comes about once in a hundred."""


def known_words() -> tuple[str, ...]:
    """Return every word of the captions that shows something, lower case, in alphabetical order.

    The captions themselves are asked, so that no list of their phrases is kept twice. A word is
    a run of letters and digits, as the server splits a prompt.
    """
    rng = np.random.default_rng(0)
    captions = (caption(sample_scene(rng), rng).text for _ in range(_CAPTIONS))
    said = {word for text in captions for word in re.findall(r"[^\W_]+", text.lower())}
    return tuple(sorted(said - SAY_NOTHING))
