"""Held-out prompts: in words that no training caption has, of scenes drawn anew."""

import json
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leyden_training.data.captions import Caption
from leyden_training.data.dataset import load_dataset
from leyden_training.data.items import Item, describe
from leyden_training.data.scene import ATTRIBUTES, attribute_indices

__all__ = ["HELD_OUT_SEED", "Prompt", "as_text", "held_out_prompts", "stated", "traits", "truth"]

HELD_OUT_SEED = 1_000_003
"""Of the renderer's scenes and captions. A data set of this seed cannot be evaluated on."""


@dataclass(frozen=True)
class Prompt:
    """A scene, and the caption of it that is used as a prompt."""

    item: Item
    caption: Caption

    @property
    def text(self) -> str:
        """What the models are given."""
        return self.caption.text


def held_out_prompts(count: int, native_px: int, data: Path) -> tuple[Prompt, ...]:
    """Describe `count` scenes of square pictures.

    Prompt i is the same for every `count`. A caption whose words some training picture has too
    is passed over for the scene's next one, and a scene without another for the next scene.

    Args:
        count: number of prompts.
        native_px: side of the pictures.
        data: folder of the data set that the models were trained on.

    Raises:
        FileNotFoundError: there is no data set.
        ValueError: the data set was rendered from the held-out seed.

    """
    dataset = load_dataset(data)
    if dataset.seed == HELD_OUT_SEED:
        raise ValueError(
            f"data: {data} was rendered with seed {HELD_OUT_SEED}, which is kept for evaluation; "
            "render it with another"
        )
    seen = {
        caption.text.lower()
        for bucket in dataset.buckets.values()
        for captions in bucket.captions
        for caption in captions
    }
    prompts: list[Prompt] = []
    for index in count_from():
        if len(prompts) == count:
            break
        item = describe(HELD_OUT_SEED, index, {(native_px, native_px): 1.0})
        fresh = [caption for caption in item.captions if caption.text.lower() not in seen]
        if fresh:
            prompts.append(Prompt(item, fresh[0]))
    return tuple(prompts)


def truth(prompts: tuple[Prompt, ...]) -> npt.NDArray[np.int64]:
    """Class indices of the prompts' scenes, (N, len(ATTRIBUTES))."""
    return np.array([attribute_indices(prompt.item.scene) for prompt in prompts], np.int64)


def traits(prompts: tuple[Prompt, ...]) -> npt.NDArray[np.float64]:
    """Return the classes of `truth` as zeros and ones, (N, all classes), attributes in order."""
    found = truth(prompts)
    columns = [np.eye(len(classes))[found[:, i]] for i, classes in enumerate(ATTRIBUTES.values())]
    return np.concatenate(columns, axis=1)


def stated(prompts: tuple[Prompt, ...]) -> npt.NDArray[np.bool_]:
    """Whether each prompt states each attribute, (N, len(ATTRIBUTES))."""
    return np.array([[name in prompt.caption.stated for name in ATTRIBUTES] for prompt in prompts])


def as_text(prompts: tuple[Prompt, ...]) -> str:
    """Return what tells these prompts from others, as JSON."""
    return json.dumps([[prompt.text, prompt.item.render_seed] for prompt in prompts])
