"""The embedded model's `known_words` are the words that its captions say."""

import numpy as np
import pytest

from leyden_server.model_repository import ModelRepository
from leyden_server.model_repository.known_words import knows_any, words_in
from leyden_training.data.captions import WORDS, caption
from leyden_training.data.scene import sample_scene
from leyden_training.data.vocabulary import SAY_NOTHING, known_words

LISTED = frozenset(ModelRepository().items["leyden-tiny-base"].entry.known_words or ())


def test_the_shipped_list_is_what_the_captions_can_say() -> None:
    words = known_words()
    assert tuple(sorted(LISTED)) == words, f"model.yaml should have: {', '.join(words)}"


@pytest.mark.parametrize("seed", [1, 2])
def test_other_captions_say_the_same_words_and_no_further_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = {word for _ in range(5000) for word in words_in(caption(sample_scene(rng), rng).text)}

    assert said == LISTED | SAY_NOTHING


def test_every_phrase_of_an_attribute_has_a_known_word() -> None:
    phrases = [phrase for classes in WORDS.values() for said in classes.values() for phrase in said]

    assert all(knows_any(phrase, LISTED) for phrase in phrases)


def test_what_shows_nothing_is_not_known() -> None:
    assert not knows_any(" ".join(SAY_NOTHING), LISTED)
    assert not knows_any("a portrait of a cat under the table", LISTED)
