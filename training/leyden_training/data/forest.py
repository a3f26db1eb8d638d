"""A forest: rows of firs from misty to near, about a clearing."""

from __future__ import annotations

import numpy as np

from leyden_training.data import exact
from leyden_training.data.brush import conifer, glow
from leyden_training.data.light import View
from leyden_training.data.noise import Array, clip, colour, fbm, fbm_line, mix, step
from leyden_training.data.objects import side_of, tree_tints
from leyden_training.data.scene import Time


def paint_forest(image: Array, view: View) -> tuple[float, float]:
    """Paint the forest into `image`, in place; return a place (x, base) for a cabin, in pixels."""
    scene, light, frame, rng = view
    opening = float(rng.uniform(0.32, 0.68))
    floor = _floor(view)
    # (foot of the row, tallest tree, haze, trees to a picture's width, half-width of the clearing)
    rows = (
        (0.60, 0.20, 0.70, 34, 0.00),
        (0.63, 0.27, 0.52, 26, 0.00),
        (0.68, 0.36, 0.34, 18, 0.07),
        (0.76, 0.50, 0.17, 13, 0.17),
        (0.90, 0.74, 0.04, 9, 0.30),
    )
    shift = light.horizon_v - 0.58
    misty = {Time.SUNRISE: 1.15, Time.DAY: 0.75, Time.SUNSET: 0.9, Time.NIGHT: 0.9}[scene.time]
    warm = exact.exp(-(((frame.u - light.sun_u) / 0.3) ** 2))[..., None]
    for foot, tallest, haze, count, gap in rows:
        line = foot + shift + 0.012 * fbm_line(rng, frame.width, 3, 2)[None, :]
        cover = clip((frame.v - line) * frame.height + 0.5, 0, 1)[..., None]
        air = min(0.9, haze * misty * float(rng.uniform(0.85, 1.15)))
        ground = mix(floor, light.fog, air)
        np.copyto(image, mix(image, ground, cover))
        number = max(3, round(count * frame.width / frame.height))
        xs = (np.arange(number) + rng.uniform(0.1, 0.9, number)) / number
        for x in rng.permutation(xs):
            if abs(x - opening) < gap * rng.uniform(0.75, 1.2):
                continue
            tall = tallest * frame.height * float(rng.uniform(0.62, 1.08))
            column = min(frame.width - 1, int(x * frame.width))
            base = (float(line[0, column]) + float(rng.uniform(0, 0.03))) * frame.height
            foot_at = (float(x) * frame.width, base)
            conifer(image, foot_at, tall, tree_tints(view, air), side_of(light))
        # Mist lies between the rows, brightest towards the sun.
        veil = exact.exp(-(((frame.v - foot - shift) / 0.10) ** 2)) * 0.30 * misty * (haze + 0.1)
        air_colour = mix(light.fog, light.horizon, 0.5 * warm if light.sun_visible else 0.0)
        np.copyto(image, mix(image, air_colour, clip(veil, 0, 1)[..., None]))
    if scene.time in {Time.SUNRISE, Time.SUNSET} and light.sun_visible:
        glow(
            image,
            (light.sun_u * frame.width, light.sun_v * frame.height),
            0.22 * frame.height,
            light.horizon * 0.8,
            0.28,
        )
    return opening * frame.width, (0.83 + shift) * frame.height


def _floor(view: View) -> Array:
    """Return the forest's grassy floor (H, W, 3), lighter in patches."""
    scene, light, frame, rng = view
    patches = fbm(rng, frame.height, frame.width, 14, 5, octaves=2)
    grass = mix(
        colour(0.26, 0.34, 0.16), colour(0.46, 0.52, 0.24), step(-1.2, 1.4, patches)[..., None]
    )
    power = light.ambient + 0.45 * light.direct
    if scene.time is Time.NIGHT:
        power = power * 1.25
    result: Array = grass * power
    return result
