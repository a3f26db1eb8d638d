"""Antialiased shapes drawn into a small window of the picture."""

from __future__ import annotations

import numpy as np

from leyden_training.data import exact
from leyden_training.data.noise import Array, clip, mix

Point = tuple[float, float]
"""A place (x, y) in pixels from the upper left corner."""

Tints = tuple[Array, Array]
"""The colour in the shade and in the light, (3,) each."""


def polygon(image: Array, points: list[Point], tint: Array, alpha: float = 1.0) -> None:
    """Fill a convex polygon; `points` go round it in either sense."""
    height, width = image.shape[:2]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, right = max(0, int(min(xs)) - 1), min(width, int(max(xs)) + 3)
    top, low = max(0, int(min(ys)) - 1), min(height, int(max(ys)) + 3)
    if left >= right or top >= low:
        return
    area = sum(
        xs[i] * ys[(i + 1) % len(xs)] - xs[(i + 1) % len(xs)] * ys[i] for i in range(len(xs))
    )
    sense = 1.0 if area > 0 else -1.0
    x = (np.arange(left, right, dtype=np.float32) + 0.5)[None, :]
    y = (np.arange(top, low, dtype=np.float32) + 0.5)[:, None]
    inside = np.full((low - top, right - left), 9.0, np.float32)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        dx, dy = x1 - x0, y1 - y0
        length = max(float(exact.hypot(dx, dy)), 1e-6)
        np.minimum(inside, sense * (dx * (y - y0) - dy * (x - x0)) / length, out=inside)
    cover = clip(inside + 0.5, 0, 1) * np.float32(alpha)
    window = image[top:low, left:right]
    np.copyto(window, mix(window, tint.astype(np.float32), cover[..., None]))


def glow(image: Array, centre: Point, radius: float, tint: Array, power: float) -> None:
    """Add light that fades over `radius` pixels around `centre`."""
    x, y = centre
    height, width = image.shape[:2]
    reach = 2.5 * radius
    left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
    top, low = max(0, int(y - reach)), min(height, int(y + reach) + 1)
    if left >= right or top >= low:
        return
    dx = (np.arange(left, right, dtype=np.float32) - x)[None, :]
    dy = (np.arange(top, low, dtype=np.float32) - y)[:, None]
    fall = np.float32(power) * exact.exp(-(dx * dx + dy * dy) / np.float32(radius * radius))
    image[top:low, left:right] += fall[..., None] * tint


def conifer(image: Array, foot: Point, tall: float, tints: Tints, side: float) -> None:
    """Draw a fir of `tall` pixels over `foot`; `side` > 0 is lit from the right."""
    (x, base), (dark, lit) = foot, tints
    height, width = image.shape[:2]
    half = tall * 0.24
    left, right = max(0, int(x - half) - 1), min(width, int(x + half) + 2)
    top, low = max(0, int(base - tall) - 1), min(height, int(base) + 1)
    if left >= right or top >= low:
        return
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - x)[None, :]
    t = ((np.arange(top, low, dtype=np.float32) + 0.5 - (base - tall)) / tall)[:, None]
    tiers = min(7.0, max(2.0, round(tall / 8)))
    saw = (t * tiers - 0.55 * np.abs(dx) / half + 0.37) % 1.0
    ragged = 1 + 0.10 * exact.sin(t * 41 + np.sign(dx) * 1.3 + x * 0.7)
    spread = clip(t / 0.90, 0, 1) * (0.60 + 0.40 * saw) * ragged * half
    spread = np.where(t > 0.90, tall * 0.028 + 0.3, spread)
    cover = clip(spread - np.abs(dx) + 0.5, 0, 1) * clip(t * tall + 0.5, 0, 1)
    facing = clip(0.32 + 0.75 * side * dx / half + 0.40 * (0.55 - saw), 0, 1)
    tint = mix(dark, lit, facing[..., None])
    window = image[top:low, left:right]
    np.copyto(window, mix(window, tint, cover[..., None]))


def ball(image: Array, centre: Point, radius: float, tints: Tints, side: float) -> None:
    """Draw a ball of leaves lit from above on `side`."""
    (x, y), (dark, lit) = centre, tints
    height, width = image.shape[:2]
    left, right = max(0, int(x - radius) - 1), min(width, int(x + radius) + 2)
    top, low = max(0, int(y - radius) - 1), min(height, int(y + radius) + 2)
    if left >= right or top >= low:
        return
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - x)[None, :]
    dy = (np.arange(top, low, dtype=np.float32) + 0.5 - y)[:, None]
    cover = clip(radius - np.sqrt(dx * dx + dy * dy) + 0.5, 0, 1)
    facing = clip(0.45 + 0.45 * (side * dx * 0.6 - dy) / radius, 0, 1)
    window = image[top:low, left:right]
    np.copyto(window, mix(window, mix(dark, lit, facing[..., None]), cover[..., None]))
