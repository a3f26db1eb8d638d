"""A city: rows of buildings with windows, far ones paler, over a river."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leyden_training.data import exact
from leyden_training.data.brush import polygon
from leyden_training.data.light import View
from leyden_training.data.noise import Array, colour, mix
from leyden_training.data.objects import side_of
from leyden_training.data.scene import Sky, Style, Time

_FACADES = (
    (0.50, 0.56, 0.64),
    (0.42, 0.50, 0.60),
    (0.66, 0.60, 0.54),
    (0.56, 0.48, 0.44),
    (0.60, 0.62, 0.66),
    (0.36, 0.40, 0.48),
)


@dataclass(frozen=True)
class _Block:
    """A building's outline, in pixels, and the air before it (0 to 1)."""

    left: int
    right: int
    top: int
    low: int
    haze: float
    tall: bool  # over a quarter of the picture


def paint_city(image: Array, base_v: float, view: View) -> None:
    """Draw four rows of buildings that stand at the row `base_v`, in place."""
    light, frame, rng = view.light, view.frame, view.rng
    middle = rng.uniform(0.25, 0.75)
    rows = ((0.30, 0.72, 0.8), (0.44, 0.46, 0.95), (0.50, 0.22, 1.05), (0.26, 0.05, 1.25))
    for tallest, haze, wide in rows:
        x = -rng.uniform(0, 14) * frame.scale
        while x < frame.width:
            width = rng.uniform(15, 34) * wide * frame.scale
            centre = (x + width / 2) / frame.width
            aside = (centre - middle) / 0.30
            crown = 0.45 + 0.55 * float(exact.exp(-aside * aside))
            height = tallest * crown * rng.uniform(0.45, 1.08) * light.horizon_v / 0.75
            low = round(base_v * frame.height)
            block = _Block(
                left=round(x),
                right=round(x + width),
                top=round(low - height * frame.height),
                low=low,
                haze=haze,
                tall=bool(height > 0.25),
            )
            _building(image, block, view)
            x += (
                width + (rng.uniform(-1, 9) if tallest > 0.28 else rng.uniform(-2, 3)) * frame.scale
            )


def _building(image: Array, block: _Block, view: View) -> None:
    frame, rng = view.frame, view.rng
    lit_tint, dark_tint = _faces(block, view)
    left, right, top, low = block.left, block.right, block.top, block.low
    corner = left + round((right - left) * float(rng.uniform(0.25, 0.4)))
    tints = (dark_tint, lit_tint) if side_of(view.light) > 0 else (lit_tint, dark_tint)
    _roof(image, block, mix(dark_tint, lit_tint, 0.5), rng)
    y0, y1 = max(top, 0), min(low, frame.height)
    for x0, x1, tint in ((left, corner, tints[0]), (corner, right, tints[1])):
        image[y0:y1, max(x0, 0) : max(min(x1, frame.width), 0)] = tint
    if block.haze < 0.6:
        _windows(image, block, lit_tint, view)


def _faces(block: _Block, view: View) -> tuple[Array, Array]:
    """Return the colours of a building's lit and shaded faces, a facade drawn."""
    scene, light = view.scene, view.light
    facade = colour(*_FACADES[int(view.rng.integers(len(_FACADES)))])
    lit_tint = facade * (light.ambient * 0.9 + light.direct * 0.62)
    dark_tint = facade * light.ambient * 0.85
    if scene.time is Time.SUNSET:  # against the light
        lit_tint, dark_tint = lit_tint * 0.82, dark_tint * 0.9
    air = block.haze * (1.25 if scene.style is Style.CONCEPT_ART else 1.0)
    if scene.sky is Sky.STORMY:
        air = air * 1.1
    air = min(air, 0.9)
    return mix(lit_tint, light.fog, air), mix(dark_tint, light.fog, air)


def _roof(image: Array, block: _Block, tint: Array, rng: np.random.Generator) -> None:
    """Draw a spire over a set-back, a smaller storey, a slope, or nothing."""
    left, right, top = block.left, block.right, block.top
    kind, middle, part = rng.random(), (left + right) / 2, right - left

    def trapezium(low: float, wide: float, high: float, narrow: float) -> None:
        points = [
            (middle - wide, top - low),
            (middle + wide, top - low),
            (middle + narrow, top - high),
            (middle - narrow, top - high),
        ]
        polygon(image, points, tint)

    if kind < 0.22 and block.tall:
        trapezium(0, part * 0.3, part * 0.5, part * 0.22)
        trapezium(part * 0.5, part * 0.10, part * 1.4, 0.4)
    elif kind < 0.42:
        trapezium(0, part * 0.35, part * 0.25, part * 0.35)
    elif kind < 0.55:
        polygon(image, [(left, top), (right, top), (right, top - part * 0.4)], tint)


def _windows(image: Array, block: _Block, facade: Array, view: View) -> None:
    scene, light, frame, rng = view
    pitch_x, pitch_y = max(5, round(6 * frame.scale)), max(6, round(7 * frame.scale))
    wide, tall = max(3, round(3.2 * frame.scale)), max(4, round(4.2 * frame.scale))
    columns = max(1, (block.right - block.left - 2) // pitch_x)
    rows = max(1, (block.low - block.top - 4) // pitch_y)
    start_x = block.left + (block.right - block.left - (columns - 1) * pitch_x - wide) // 2
    share = {Time.SUNRISE: 0.12, Time.DAY: 0.0, Time.SUNSET: 0.42, Time.NIGHT: 0.55}[scene.time]
    on = rng.random((rows, columns)) < share * rng.uniform(0.6, 1.25)
    warm = rng.random((rows, columns))
    pane = mix(facade * 0.62, light.middle * 0.75, 0.25)
    pane = mix(pane, light.fog, block.haze * 0.5)
    for i in range(rows):
        y = block.top + 4 + i * pitch_y
        y0, y1 = max(y, 0), min(y + tall, frame.height)
        if y0 >= y1:
            continue
        for j in range(columns):
            x = start_x + j * pitch_x
            x0, x1 = max(x, 0), min(x + wide, frame.width)
            if x0 >= x1:
                continue
            tint = pane
            if on[i, j]:
                lamp = mix(colour(1.0, 0.74, 0.36), colour(1.0, 0.92, 0.70), float(warm[i, j]))
                tint = mix(lamp, light.fog, block.haze * 0.65)
            image[y0:y1, x0:x1] = tint
