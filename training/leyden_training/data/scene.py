"""What a picture shows: a scene of a few attributes, each known exactly.

A scene is drawn by `sample_scene`, painted by `render.render` and described by
`captions.caption`. `attribute_indices` gives it to a classifier as class indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

_Choice = TypeVar("_Choice", bound=StrEnum)


class Time(StrEnum):
    """The time of day."""

    SUNRISE = "sunrise"
    DAY = "day"
    SUNSET = "sunset"
    NIGHT = "night"


class Terrain(StrEnum):
    """What fills the land."""

    MOUNTAINS = "mountains"
    HILLS = "hills"
    DESERT = "desert"
    OCEAN = "ocean"
    FOREST = "forest"
    LAKE = "lake"
    CITY = "city"


class Sky(StrEnum):
    """What fills the sky."""

    CLEAR = "clear"
    CLOUDY = "cloudy"
    STORMY = "stormy"
    STARRY = "starry"
    AURORA = "aurora"


class Extra(StrEnum):
    """A thing that may be added to the land."""

    TREES = "trees"
    SNOW = "snow"
    CABIN = "cabin"
    SAILBOAT = "sailboat"


class Style(StrEnum):
    """The manner of the picture."""

    PHOTOGRAPH = "photograph"
    ANIME = "anime"
    OIL_PAINTING = "oil painting"
    CONCEPT_ART = "concept art"


SKIES: dict[Time, dict[Sky, float]] = {
    Time.SUNRISE: {Sky.CLEAR: 0.5, Sky.CLOUDY: 0.5},
    Time.DAY: {Sky.CLEAR: 0.35, Sky.CLOUDY: 0.4, Sky.STORMY: 0.25},
    Time.SUNSET: {Sky.CLEAR: 0.42, Sky.CLOUDY: 0.43, Sky.STORMY: 0.15},
    Time.NIGHT: {Sky.STARRY: 0.5, Sky.CLOUDY: 0.2, Sky.AURORA: 0.3},
}
"""The skies that each time of day can have, with their shares."""

EXTRAS: dict[Terrain, dict[Extra, float]] = {
    Terrain.MOUNTAINS: {Extra.TREES: 0.5, Extra.SNOW: 0.5, Extra.CABIN: 0.2},
    Terrain.HILLS: {Extra.TREES: 0.5, Extra.CABIN: 0.3},
    Terrain.DESERT: {},
    Terrain.OCEAN: {Extra.SAILBOAT: 0.45},
    Terrain.FOREST: {Extra.CABIN: 0.35},
    Terrain.LAKE: {Extra.TREES: 0.5, Extra.SNOW: 0.5, Extra.CABIN: 0.25, Extra.SAILBOAT: 0.25},
    Terrain.CITY: {},
}
"""The extras that each terrain can have, with the probability of each."""

TERRAIN_SHARES: dict[Terrain, float] = {
    Terrain.MOUNTAINS: 0.22,
    Terrain.HILLS: 0.12,
    Terrain.DESERT: 0.11,
    Terrain.OCEAN: 0.14,
    Terrain.FOREST: 0.12,
    Terrain.LAKE: 0.17,
    Terrain.CITY: 0.12,
}


@dataclass(frozen=True)
class Scene:
    """The attributes of one picture.

    Raises:
        ValueError: if the sky does not go with the time, or an extra with the terrain.

    """

    time: Time
    terrain: Terrain
    sky: Sky
    extras: frozenset[Extra]
    style: Style

    def __post_init__(self) -> None:
        if self.sky not in SKIES[self.time]:
            allowed = ", ".join(SKIES[self.time])
            raise ValueError(f"sky: {self.sky} does not go with {self.time}; allowed: {allowed}")
        for extra in self.extras:
            if extra not in EXTRAS[self.terrain]:
                allowed = ", ".join(EXTRAS[self.terrain]) or "none"
                raise ValueError(
                    f"extras: {extra} does not go with {self.terrain}; allowed: {allowed}"
                )


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "time": tuple(Time),
    "terrain": tuple(Terrain),
    "sky": tuple(Sky),
    "trees": ("no", "yes"),
    "snow": ("no", "yes"),
    "cabin": ("no", "yes"),
    "sailboat": ("no", "yes"),
    "style": tuple(Style),
}
"""Each attribute's classes, in the order of the indices of `attribute_indices`."""


def attribute_values(scene: Scene) -> dict[str, str]:
    """Return the class of each attribute of ATTRIBUTES.

    A forest has trees whatever its extras say.
    """
    trees = Extra.TREES in scene.extras or scene.terrain is Terrain.FOREST
    return {
        "time": scene.time.value,
        "terrain": scene.terrain.value,
        "sky": scene.sky.value,
        "trees": "yes" if trees else "no",
        "snow": "yes" if Extra.SNOW in scene.extras else "no",
        "cabin": "yes" if Extra.CABIN in scene.extras else "no",
        "sailboat": "yes" if Extra.SAILBOAT in scene.extras else "no",
        "style": scene.style.value,
    }


def attribute_indices(scene: Scene) -> tuple[int, ...]:
    """Return the class index of each attribute, in the order of ATTRIBUTES."""
    values = attribute_values(scene)
    return tuple(classes.index(values[name]) for name, classes in ATTRIBUTES.items())


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: times and styles alike often, the rest by the shares of this module."""
    times = tuple(Time)
    time = times[int(rng.choice(len(times), p=[0.25, 0.24, 0.27, 0.24]))]
    terrain = _draw(rng, TERRAIN_SHARES)
    sky = _draw(rng, SKIES[time])
    extras = frozenset(extra for extra, share in EXTRAS[terrain].items() if rng.random() < share)
    styles = tuple(Style)
    style = styles[int(rng.choice(len(styles), p=[0.4, 0.2, 0.2, 0.2]))]
    return Scene(time=time, terrain=terrain, sky=sky, extras=extras, style=style)


def _draw(rng: np.random.Generator, shares: dict[_Choice, float]) -> _Choice:
    values = tuple(shares)
    weights = np.array(tuple(shares.values()))
    return values[int(rng.choice(len(values), p=weights / weights.sum()))]
