"""The light of a picture: where the sun is and the palette of the time of day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from leyden_training.data.noise import Array, clip, colour, mix
from leyden_training.data.scene import Scene, Sky, Style, Terrain, Time


@dataclass(frozen=True)
class Frame:
    """The picture's size and the places of its pixels."""

    width: int
    height: int

    @property
    def scale(self) -> float:
        """Pixels here for one pixel of a 256 x 256 picture."""
        return float(np.sqrt(self.width * self.height) / 256)

    @property
    def u(self) -> Array:
        """Columns (1, W) in [0, 1]."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5) / self.width)[None, :]

    @property
    def v(self) -> Array:
        """Rows (H, 1) in [0, 1] from the top."""
        return ((np.arange(self.height, dtype=np.float32) + 0.5) / self.height)[:, None]


@dataclass(frozen=True)
class Light:
    """The palette (display colours, (3,) each) and the place of the sun or moon."""

    zenith: Array
    middle: Array
    horizon: Array
    sun: Array
    direct: Array
    ambient: Array
    fog: Array
    cloud_lit: Array
    cloud_shade: Array
    fog_density: float
    sun_u: float
    sun_v: float
    sun_radius: float  # as a share of the square root of the area
    sun_visible: bool
    direction: Array  # (x right, y up, z away), of unit length, towards the light
    horizon_v: float
    lamps: float  # how far windows shine, 0 to 1


class View(NamedTuple):
    """What every painter is given: the scene, its light, the picture's size, and chance."""

    scene: Scene
    light: Light
    frame: Frame
    rng: np.random.Generator


_PALETTES: dict[Time, dict[str, tuple[float, float, float]]] = {
    Time.SUNRISE: {
        "zenith": (0.40, 0.58, 0.82),
        "middle": (0.83, 0.74, 0.79),
        "horizon": (1.00, 0.83, 0.62),
        "sun": (1.00, 0.95, 0.78),
        "direct": (1.00, 0.76, 0.54),
        "ambient": (0.46, 0.48, 0.62),
        "fog": (0.95, 0.82, 0.75),
        "cloud_lit": (1.00, 0.84, 0.74),
        "cloud_shade": (0.72, 0.66, 0.78),
    },
    Time.DAY: {
        "zenith": (0.16, 0.42, 0.80),
        "middle": (0.42, 0.67, 0.93),
        "horizon": (0.79, 0.90, 0.97),
        "sun": (1.00, 0.98, 0.90),
        "direct": (0.98, 0.92, 0.80),
        "ambient": (0.44, 0.50, 0.58),
        "fog": (0.72, 0.83, 0.93),
        "cloud_lit": (1.00, 1.00, 1.00),
        "cloud_shade": (0.70, 0.77, 0.87),
    },
    Time.SUNSET: {
        "zenith": (0.17, 0.15, 0.40),
        "middle": (0.76, 0.33, 0.42),
        "horizon": (1.00, 0.63, 0.24),
        "sun": (1.00, 0.86, 0.52),
        "direct": (1.00, 0.57, 0.32),
        "ambient": (0.33, 0.29, 0.44),
        "fog": (0.88, 0.45, 0.34),
        "cloud_lit": (1.00, 0.56, 0.32),
        "cloud_shade": (0.44, 0.24, 0.42),
    },
    Time.NIGHT: {
        "zenith": (0.03, 0.06, 0.18),
        "middle": (0.07, 0.14, 0.33),
        "horizon": (0.19, 0.30, 0.50),
        "sun": (0.97, 0.97, 0.90),
        "direct": (0.40, 0.50, 0.72),
        "ambient": (0.16, 0.21, 0.35),
        "fog": (0.16, 0.25, 0.44),
        "cloud_lit": (0.36, 0.43, 0.60),
        "cloud_shade": (0.09, 0.13, 0.25),
    },
}

_STORM: dict[Time, dict[str, tuple[float, float, float]]] = {
    Time.DAY: {
        "zenith": (0.27, 0.31, 0.37),
        "middle": (0.45, 0.50, 0.56),
        "horizon": (0.72, 0.75, 0.77),
        "direct": (0.46, 0.48, 0.50),
        "ambient": (0.38, 0.41, 0.46),
        "fog": (0.60, 0.64, 0.69),
        "cloud_lit": (0.68, 0.71, 0.75),
        "cloud_shade": (0.22, 0.25, 0.31),
    },
    Time.SUNSET: {
        "zenith": (0.20, 0.16, 0.25),
        "middle": (0.42, 0.28, 0.36),
        "horizon": (1.00, 0.62, 0.28),
        "fog": (0.58, 0.37, 0.38),
        "cloud_lit": (0.62, 0.38, 0.38),
        "cloud_shade": (0.17, 0.15, 0.25),
    },
}

_HORIZONS: dict[Terrain, tuple[float, float]] = {
    Terrain.MOUNTAINS: (0.52, 0.68),
    Terrain.HILLS: (0.42, 0.58),
    Terrain.DESERT: (0.40, 0.55),
    Terrain.OCEAN: (0.42, 0.62),
    Terrain.FOREST: (0.52, 0.64),
    Terrain.LAKE: (0.48, 0.58),
    Terrain.CITY: (0.70, 0.80),
}


def make_light(scene: Scene, rng: np.random.Generator) -> Light:
    """Draw the light of `scene`: its palette jittered, its sun and horizon placed."""
    table = dict(_PALETTES[scene.time])
    if scene.sky is Sky.STORMY:
        table |= _STORM[scene.time]
    warmth = float(rng.normal(0, 0.5))
    tilt = colour(0.035, 0.0, -0.035) * warmth
    exposure = float(rng.uniform(0.94, 1.05))
    palette = {
        name: clip(
            (colour(*parts) + tilt + rng.normal(0, 0.018, 3).astype(np.float32)) * exposure, 0, 1
        )
        for name, parts in table.items()
    }
    if scene.time is Time.SUNSET:  # from golden to crimson and violet
        hue = float(rng.uniform(0, 1))
        palette["middle"] = mix(palette["middle"], colour(0.92, 0.50, 0.32), 0.75 * hue)
        palette["zenith"] = mix(palette["zenith"], colour(0.30, 0.34, 0.55), 0.6 * hue)
        if hue < 0.3:
            palette["horizon"] = mix(palette["horizon"], colour(1.0, 0.48, 0.28), 0.6)
    if scene.time is Time.SUNRISE:  # from peach to rose
        hue = float(rng.uniform(0, 1))
        palette["middle"] = mix(palette["middle"], colour(0.97, 0.80, 0.68), 0.6 * hue)
        palette["horizon"] = mix(palette["horizon"], colour(1.0, 0.76, 0.68), 0.7 * (1 - hue))
    low, high = _HORIZONS[scene.terrain]
    horizon_v = float(rng.uniform(low, high))
    sun_u = float(rng.uniform(0.18, 0.82))
    if scene.time in {Time.SUNRISE, Time.SUNSET}:
        lift = rng.uniform(0.04, 0.15)
        if scene.terrain in {Terrain.MOUNTAINS, Terrain.LAKE}:
            lift = rng.uniform(0.16, 0.30)
        if scene.terrain in {Terrain.CITY, Terrain.FOREST}:
            lift = rng.uniform(0.20, 0.38)
        sun_v, radius, elevation = horizon_v - float(lift), rng.uniform(0.034, 0.055), 0.5
    else:
        sun_v, radius, elevation = float(rng.uniform(0.10, 0.24)), rng.uniform(0.03, 0.045), 0.75
    shown = scene.sky is not Sky.STORMY and not (scene.time is Time.DAY and rng.random() < 0.35)
    side = 1.0 if sun_u > 0.5 else -1.0
    behind = 0.15 if scene.time in {Time.SUNRISE, Time.SUNSET} else -0.45
    direction = np.array([side * rng.uniform(0.6, 1.0), elevation, behind], np.float32)
    density = {Time.SUNRISE: 0.17, Time.DAY: 0.10, Time.SUNSET: 0.12, Time.NIGHT: 0.12}[scene.time]
    if scene.style is Style.CONCEPT_ART:
        density *= 1.5
    return Light(
        **palette,
        fog_density=density * float(rng.uniform(0.75, 1.35)),
        sun_u=sun_u,
        sun_v=sun_v,
        sun_radius=float(radius),
        sun_visible=bool(shown),
        direction=direction / np.sqrt(np.square(direction).sum()),
        horizon_v=horizon_v,
        lamps={Time.SUNRISE: 0.35, Time.DAY: 0.0, Time.SUNSET: 0.75, Time.NIGHT: 1.0}[scene.time],
    )
