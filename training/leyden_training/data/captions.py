"""Captions of scenes in varied words, each with the attributes that it states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leyden_training.data.scene import Scene, Sky, Style, Terrain, Time

WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "time": {
        "sunrise": ("at sunrise", "at dawn", "in the early morning", "at daybreak", "at sunrise"),
        "day": ("in daylight", "at noon", "on a bright day", "in the afternoon", "by day"),
        "sunset": ("at sunset", "at dusk", "at golden hour", "in the evening", "at sunset"),
        "night": ("at night", "by night", "under the moon", "at midnight", "in moonlight"),
    },
    "terrain": {
        "mountains": ("mountains", "a mountain range", "mountain peaks", "a mountain landscape"),
        "hills": ("hills", "rolling hills", "green hills", "grassy hills", "a hilly landscape"),
        "desert": ("a desert", "desert dunes", "sand dunes", "a sandy desert"),
        "ocean": ("the ocean", "the sea", "an ocean", "a seascape", "ocean waves"),
        "forest": ("a forest", "a pine forest", "a misty forest", "woods", "a forest clearing"),
        "lake": ("a mountain lake", "a lake", "a lake in the mountains", "an alpine lake"),
        "city": ("a city skyline", "a city", "a city by the water", "skyscrapers", "a skyline"),
    },
    "sky": {
        "clear": ("a clear sky", "a cloudless sky", "clear skies"),
        "cloudy": ("a cloudy sky", "clouds", "drifting clouds", "clouds in the sky"),
        "stormy": ("a stormy sky", "storm clouds", "dark clouds", "an overcast sky"),
        "starry": ("a starry sky", "stars", "a sky full of stars", "bright stars"),
        "aurora": ("an aurora", "northern lights", "aurora borealis", "the northern lights"),
    },
    "trees": {"yes": ("trees", "some trees", "scattered trees")},
    "snow": {"yes": ("snow", "snowy peaks", "snow-capped peaks", "snow on the peaks")},
    "cabin": {"yes": ("a cabin", "a wooden cabin", "a small house", "a log cabin")},
    "sailboat": {"yes": ("a sailboat", "a sailing boat", "a white sailboat", "a boat with sails")},
    "style": {
        "photograph": ("photograph", "photo", "realistic photo", "landscape photography"),
        "anime": ("anime style", "anime", "anime art", "anime background"),
        "oil painting": (
            "oil painting",
            "oil on canvas",
            "painted in oil",
            "impressionist painting",
        ),
        "concept art": ("concept art", "digital concept art", "game concept art", "matte painting"),
    },
}
"""For each attribute and class, the phrases that state it."""

_TIME_NOUNS: dict[Time, tuple[str, ...]] = {
    Time.SUNRISE: ("sunrise", "dawn", "early morning"),
    Time.DAY: ("day", "sunny day", "bright day"),
    Time.SUNSET: ("sunset", "dusk", "golden hour"),
    Time.NIGHT: ("night", "moonlit night", "night sky"),
}
_CALM = ("serene", "peaceful", "calm", "quiet", "tranquil")
_GRAND = ("beautiful", "majestic", "stunning", "dramatic", "epic", "breathtaking", "vast")
_LIGHTING: dict[Time, tuple[str, ...]] = {
    Time.SUNRISE: ("soft lighting", "soft light", "warm light", "morning light", "golden light"),
    Time.DAY: ("bright light", "natural lighting", "daylight", "vivid colors"),
    Time.SUNSET: ("cinematic lighting", "warm light", "dramatic lighting", "glowing light"),
    Time.NIGHT: ("cinematic lighting", "dark blue tones", "moody lighting", "cool light"),
}
_MOOD = ("peaceful atmosphere", "calm mood", "serene atmosphere", "dreamy atmosphere", "quiet mood")
_STORM_MOOD = ("dramatic atmosphere", "moody atmosphere", "gloomy mood")
_QUALITY = ("high quality", "highly detailed", "4k", "beautiful colors", "sharp focus", "wallpaper")


@dataclass(frozen=True)
class Caption:
    """A caption and the names of the attributes (of `scene.ATTRIBUTES`) that it states."""

    text: str
    stated: frozenset[str]


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """Return a caption of `scene` in words drawn from `rng`.

    One in twelve is a plain sentence. The terrain is always stated, the time nearly always;
    the rest are left out at times. What is stated holds; what is absent
    from the scene is never named. Under 60 tokens of CLIP.
    """
    if rng.random() < 1 / 12:
        return _plain(scene, rng)
    stated = {"terrain"}
    time_said = rng.random() < 0.92
    extras = [extra for extra in sorted(scene.extras) if rng.random() < 0.85]
    sky_said = rng.random() < _sky_share(scene.sky)
    style_said = rng.random() < (0.35 if scene.style is Style.PHOTOGRAPH else 0.9)
    if time_said:
        stated.add("time")
    head = _head(scene, rng, time_said)
    adds = [_pick(rng, WORDS[extra.value]["yes"]) for extra in extras]
    stated |= {extra.value for extra in extras}
    if sky_said:
        adds.append(_pick(rng, WORDS["sky"][scene.sky.value]))
        stated.add("sky")
    text = _join(head, adds, rng)
    tail = []
    if rng.random() < 0.55:
        lighting = _fitting(scene, _LIGHTING[scene.time])
        tail.append(_pick(rng, lighting) if time_said else "natural colors")
    if rng.random() < 0.28:
        tail.append(_pick(rng, _STORM_MOOD if scene.sky is Sky.STORMY else _MOOD))
    if rng.random() < 0.22:
        tail.append(_pick(rng, _QUALITY))
    if style_said:
        stated.add("style")
        word = _pick(rng, WORDS["style"][scene.style.value])
        if rng.random() < 0.35 and word in _STYLE_HEADS:
            text = f"{_STYLE_HEADS[word]} of {text}"
        else:
            tail.insert(int(rng.integers(len(tail) + 1)), word)
    if scene.terrain is Terrain.FOREST:
        stated.add("trees")  # a forest says so
    text = ", ".join([text, *tail])
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    return Caption(text, frozenset(stated))


_STYLE_HEADS = {
    "photograph": "a photograph",
    "photo": "a photo",
    "realistic photo": "a realistic photo",
    "oil painting": "an oil painting",
    "impressionist painting": "an impressionist painting",
    "anime art": "anime art",
    "anime background": "an anime background",
    "concept art": "concept art",
    "matte painting": "a matte painting",
}


def _plain(scene: Scene, rng: np.random.Generator) -> Caption:
    """Return one of two plain sentences, such as people write first."""
    place = WORDS["terrain"][scene.terrain.value][0]
    light = _fitting(scene, _LIGHTING[scene.time])[0]
    if rng.random() < 0.5:
        time = WORDS["time"][scene.time.value][0]
        stormy = scene.sky is Sky.STORMY
        mood, air = ("dramatic", _STORM_MOOD[0]) if stormy else ("serene", _MOOD[0])
        text = f"{_with_mood(place, mood)} {time}, {light}, {air}"
    else:
        text = f"a beautiful {_TIME_NOUNS[scene.time][0]} over {place}, {light}"
    stated = {"terrain", "time"}
    if scene.style is not Style.PHOTOGRAPH:
        text = f"{text}, {WORDS['style'][scene.style.value][0]}"
        stated.add("style")
    if scene.terrain is Terrain.FOREST:
        stated.add("trees")
    return Caption(text[0].upper() + text[1:], frozenset(stated))


def _fitting(scene: Scene, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words that do not speak of sun under a stormy sky."""
    if scene.sky is not Sky.STORMY:
        return words
    sunny = ("bright", "sunny", "clear", "vivid", "glowing", "golden", "warm")
    return tuple(word for word in words if not any(part in word for part in sunny))


def _sky_share(sky: Sky) -> float:
    return {Sky.CLEAR: 0.25, Sky.CLOUDY: 0.45, Sky.STORMY: 0.85, Sky.STARRY: 0.7}.get(sky, 0.95)


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _head(scene: Scene, rng: np.random.Generator, time_said: bool) -> str:
    """Return the caption's subject: the terrain and, if said, the time."""
    place = _pick(rng, WORDS["terrain"][scene.terrain.value])
    calm_places = {Terrain.LAKE, Terrain.FOREST, Terrain.HILLS}
    moods: tuple[str, ...] = (
        _CALM if scene.terrain in calm_places and scene.sky is not Sky.STORMY else _GRAND
    )
    if scene.sky is not Sky.STORMY and rng.random() < 0.3:
        moods = _CALM + _GRAND
    mood = _pick(rng, moods) if rng.random() < 0.6 else ""
    if not time_said:
        return _with_mood(place, mood)
    form = rng.random()
    if form < 0.30:
        noun = _pick(rng, _fitting(scene, _TIME_NOUNS[scene.time]))
        if not mood and rng.random() < 0.5:
            return f"{noun} over {place}"
        return f"{_with_mood('a ' + noun, mood)} over {place}"
    if form < 0.42:
        noun = _pick(rng, _fitting(scene, _TIME_NOUNS[scene.time]))
        noun = "daytime" if noun == "day" else noun
        return f"{_with_mood(place, mood)}, {noun}"
    time = _pick(rng, _fitting(scene, WORDS["time"][scene.time.value]))
    return f"{_with_mood(place, mood)} {time}"


def _with_mood(place: str, mood: str) -> str:
    """Return `place` with an adjective after its article, the article made to fit."""
    if not mood:
        article, _, rest = place.partition(" ")
        return f"{_article(rest)} {rest}" if article in {"a", "an"} else place
    article, _, rest = place.partition(" ")
    if article in {"a", "an"}:
        return f"{_article(mood)} {mood} {rest}"
    if article == "the":
        return f"the {mood} {rest}"
    return f"{mood} {place}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _join(head: str, adds: list[str], rng: np.random.Generator) -> str:
    if not adds:
        return head
    order = [adds[int(i)] for i in rng.permutation(len(adds))]
    if rng.random() < 0.65:
        listed = order[0] if len(order) == 1 else f"{', '.join(order[:-1])} and {order[-1]}"
        return f"{head} with {listed}"
    return ", ".join([head, *order])
