"""Smooth noise, blurs and blends on float32 arrays."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from leyden_training.data import exact

Array = exact.Array
"""Pixels and fields are float32; numpy's stubs make float64 of their mixes with a float."""

_SPLINE_DEVIATION = 0.52  # of a plane of standard normal knots under the 2-D cubic B-spline


@lru_cache(maxsize=512)
def _spline(size: int, cells: int) -> tuple[npt.NDArray[np.intp], Array]:
    """Return the first of four knots (size,) and their cubic B-spline weights (4, size).

    The places are evenly spaced; `cells` + 3 knots hold them.
    """
    places = (np.arange(size) + 0.5) * cells / size
    knot = np.minimum(np.floor(places).astype(np.intp), cells - 1)
    t = places - knot
    s = 1 - t
    square, cube = t * t, t * t * t
    weights = np.stack(
        [s * s * s, 3 * cube - 6 * square + 4, -3 * cube + 3 * square + 3 * t + 1, cube]
    )
    return knot, (weights / 6).astype(np.float32)


def _between_knots(knots: Array, size: int) -> Array:
    """Return the B-spline through `knots` (cells + 3, ...) at `size` places of its first axis."""
    knot, weights = _spline(size, knots.shape[0] - 3)
    weights = weights.reshape(4, size, *[1] * (knots.ndim - 1))
    total: Array = np.take(knots, knot, axis=0) * weights[0]
    for offset in range(1, 4):
        total += np.take(knots, knot + offset, axis=0) * weights[offset]
    return total


def noise(rng: np.random.Generator, height: int, width: int, rows: float, columns: float) -> Array:
    """Return smooth noise (height, width) of about unit deviation, `rows` x `columns` cells."""
    rows, columns = max(1, round(rows)), max(1, round(columns))
    knots = exact.standard_normal(rng, (rows + 3, columns + 3))
    across = _between_knots(np.ascontiguousarray(knots.T), width)  # (W, rows + 3)
    field = _between_knots(np.ascontiguousarray(across.T), height)
    field /= _SPLINE_DEVIATION
    return field


def fbm(
    rng: np.random.Generator,
    height: int,
    width: int,
    rows: float,
    columns: float,
    *,
    octaves: int,
    gain: float = 0.5,
) -> Array:
    """Return a sum of octaves of `noise` of about unit deviation, each twice as fine."""
    total = np.zeros((height, width), np.float32)
    amplitude, energy = 1.0, 0.0
    for octave in range(octaves):
        total += amplitude * noise(rng, height, width, rows * 2**octave, columns * 2**octave)
        energy += amplitude * amplitude
        amplitude *= gain
    total /= np.float32(np.sqrt(energy))
    return total


def fbm_line(
    rng: np.random.Generator, width: int, cells: float, octaves: int, gain: float = 0.5
) -> Array:
    """Return one row of noise (width,) of about unit deviation."""
    total = np.zeros(width, np.float32)
    amplitude, energy = 1.0, 0.0
    for octave in range(octaves):
        count = max(1, round(cells * 2**octave))
        knots = exact.standard_normal(rng, (count + 3,))
        total += amplitude * _between_knots(knots, width)
        energy += amplitude * amplitude
        amplitude *= gain
    result: Array = total / np.float32(np.sqrt(energy * _SPLINE_DEVIATION))
    return result


def sample(texture: Array, y: Array, x: Array) -> Array:
    """Return `texture` (H, W) or (H, W, C) at fractional places, bilinear, clamped."""
    height, width = texture.shape[:2]
    y = np.clip(y, 0, height - 1.001)
    x = np.clip(x, 0, width - 1.001)
    row, column = y.astype(np.intp), x.astype(np.intp)
    ty, tx = (y - row).astype(np.float32), (x - column).astype(np.float32)
    flat = texture.reshape(height * width, *texture.shape[2:])
    index = row * width + column
    if texture.ndim == 3:
        ty, tx = ty[..., None], tx[..., None]
    top = flat[index] * (1 - tx) + flat[index + 1] * tx
    low = flat[index + width] * (1 - tx) + flat[index + width + 1] * tx
    result: Array = top + (low - top) * ty
    return result


@lru_cache(maxsize=256)
def _blur_weights(size: int, sigma: float) -> tuple[tuple[float, ...], Array]:
    """Return a Gaussian's weights from its middle outwards, and their sum (size,) at each place.

    It ends after five sigmas, where it is below 4e-6; outside the picture there is nothing.
    """
    reach = min(size - 1, int(5 * sigma) + 1)
    away = np.arange(reach + 1) / sigma
    weights = exact.exp(-0.5 * away * away).astype(np.float32)
    total = np.full(size, weights[0], np.float32)
    for distance in range(1, reach + 1):
        total[distance:] += weights[distance]
        total[: size - distance] += weights[distance]
    return tuple(float(weight) for weight in weights), total


def _blur_rows(field: Array, sigma: float) -> Array:
    """Return `field` (H, ...) under a Gaussian along its first axis, summed in a fixed order."""
    weights, sums = _blur_weights(field.shape[0], sigma)
    total = field * weights[0]
    for distance, weight in enumerate(weights[1:], start=1):
        weighed = field * weight
        total[distance:] += weighed[:-distance]
        total[:-distance] += weighed[distance:]
    total /= sums.reshape(-1, *[1] * (field.ndim - 1))
    return total


def blur(field: Array, sigma_y: float, sigma_x: float | None = None) -> Array:
    """Return `field` (H, W) or (H, W, C) under a Gaussian; sigmas in pixels, 0 for none."""
    sigma_x = sigma_y if sigma_x is None else sigma_x
    result = field
    if sigma_y > 0:
        result = _blur_rows(result, round(sigma_y, 1))
    if sigma_x > 0:
        turned = np.ascontiguousarray(result.swapaxes(0, 1))
        result = np.ascontiguousarray(_blur_rows(turned, round(sigma_x, 1)).swapaxes(0, 1))
    return result


def step(low: float, high: float, value: Array) -> Array:
    """Return the smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    result: Array = (t * t * (3 - 2 * t)).astype(np.float32, copy=False)
    return result


def clip(value: Array, low: float = 0, high: float = 1) -> Array:
    """Return `value` held within [low, high]."""
    result: Array = np.clip(value, low, high)
    return result


def mix(first: Array, second: Array, share: Array | float) -> Array:
    """Return first + (second - first) * share, with numpy's broadcasting."""
    result: Array = first + (second - first) * share
    return result


def luma(image: Array) -> Array:
    """Return the lightness (H, W) of display colours (H, W, 3)."""
    result: Array = 0.30 * image[..., 0] + 0.59 * image[..., 1] + 0.11 * image[..., 2]
    return result


def colour(red: float, green: float, blue: float) -> Array:
    """Return a display colour (3,), each part in [0, 1]."""
    return np.array([red, green, blue], np.float32)
