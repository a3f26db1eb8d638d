"""Captions say what the scene is, say which attributes they state, and fit the text encoders."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from transformers import CLIPTokenizer

import leyden_training
from leyden_training.data.captions import WORDS, Caption, caption
from leyden_training.data.scene import (
    Extra,
    Scene,
    Sky,
    Style,
    Terrain,
    Time,
    attribute_values,
    sample_scene,
)

TIME_WORDS = {
    "sunrise": ("sunrise", "dawn", "early morning", "daybreak"),
    "day": ("daylight", "noon", "bright day", "afternoon", "by day", "day", "daytime", "sunny day"),
    "sunset": ("sunset", "dusk", "golden hour", "evening"),
    "night": ("night", "moon", "midnight", "moonlight"),
}


@pytest.fixture(scope="module")
def samples() -> list[tuple[Scene, Caption]]:
    rng = np.random.default_rng(11)
    scenes = [sample_scene(rng) for _ in range(3000)]
    return [(scene, caption(scene, rng)) for scene in scenes]


def phrases(attribute: str, value: str) -> tuple[str, ...]:
    """The words any of which states that the attribute has this value."""
    if attribute == "time":
        return TIME_WORDS[value]
    if attribute == "trees":
        return (*WORDS["trees"]["yes"], *WORDS["terrain"]["forest"])
    bare = tuple(
        phrase.removeprefix("a ").removeprefix("an ") for phrase in WORDS[attribute][value]
    )
    return tuple(phrase.removeprefix("the ") for phrase in bare)


def test_what_is_stated_is_said_and_true(samples: list[tuple[Scene, Caption]]) -> None:
    for scene, said in samples:
        values = attribute_values(scene)
        text = said.text.lower()
        for attribute in said.stated:
            words = phrases(attribute, values[attribute])
            assert any(word.removeprefix("a ") in text for word in words), (attribute, text)


def test_what_is_absent_is_not_named(samples: list[tuple[Scene, Caption]]) -> None:
    for scene, said in samples:
        text = said.text.lower()
        for extra in set(Extra) - scene.extras:
            words = {"trees": "trees", "snow": "snow", "cabin": "cabin", "sailboat": "sail"}
            assert words[extra] not in text, text
        if scene.terrain not in {Terrain.MOUNTAINS, Terrain.LAKE}:
            assert "mountain" not in text, text
        if scene.sky is Sky.STORMY:
            assert not any(word in text for word in ("sunny", "bright", "peaceful atm")), text
        if scene.style is not Style.PHOTOGRAPH:
            assert "photo" not in text, text


def test_style_and_sky_that_are_said_are_stated(samples: list[tuple[Scene, Caption]]) -> None:
    """The other way round: words of a style or a sky never come without being counted."""
    for scene, said in samples:
        text = said.text.lower()
        if any(word in text for word in phrases("style", scene.style)):
            assert "style" in said.stated, text
        if any(word in text for word in phrases("sky", scene.sky)):
            assert "sky" in said.stated, text


def test_unimportant_attributes_are_sometimes_left_out(
    samples: list[tuple[Scene, Caption]],
) -> None:
    for attribute in ("time", "sky", "style"):
        share = np.mean([attribute in said.stated for _, said in samples])
        assert 0.3 < share < 0.97
    assert all("terrain" in said.stated for _, said in samples)


def test_captions_vary_and_come_in_both_cases(samples: list[tuple[Scene, Caption]]) -> None:
    texts = [said.text for _, said in samples]
    assert len(set(texts)) > 0.95 * len(texts)
    capitals = np.mean([text[0].isupper() for text in texts])
    assert 0.4 < capitals < 0.9
    assert min(len(text.split()) for text in texts) <= 4


@pytest.mark.parametrize(
    ("prompt", "time", "terrain"),
    [
        (
            "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere",
            Time.SUNRISE,
            Terrain.LAKE,
        ),
        (
            "A beautiful sunset over mountains, cinematic lighting",
            Time.SUNSET,
            Terrain.MOUNTAINS,
        ),
    ],
)
def test_known_prompts_are_in_the_distribution(prompt: str, time: Time, terrain: Terrain) -> None:
    rng = np.random.default_rng(0)
    scene = Scene(time, terrain, Sky.CLEAR, frozenset(), Style.PHOTOGRAPH)
    found = [said for said in (caption(scene, rng) for _ in range(400)) if said.text == prompt]
    assert len(found) >= 4  # one in twenty-four
    assert found[0].stated == {"time", "terrain"}


def test_captions_fit_the_text_encoders(samples: list[tuple[Scene, Caption]]) -> None:
    """CLIP's merges pruned split words into as many tokens as CLIP's own, or more."""
    folder = Path(leyden_training.__file__).parent / "tokenizer"
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    counts = [len(tokenizer(said.text).input_ids) for _, said in samples[:800]]
    assert max(counts) < 60


def test_articles_fit(samples: list[tuple[Scene, Caption]]) -> None:
    for _, said in samples:
        words = said.text.lower().replace(",", "").split()
        for article, word in itertools.pairwise(words):
            if article == "a":
                assert word[0] not in "aeiou", said.text
            if article == "an":
                assert word[0] in "aeiou", said.text
