"""Smooth noise, blurs and blends on float32 arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
"""Pixels and fields are float32; numpy's stubs make float64 of their mixes with a float."""

_SPLINE_DEVIATION = 0.52  # of a plane of standard normal knots under the 2-D cubic B-spline


@lru_cache(maxsize=512)
def _spline_matrix(size: int, cells: int) -> Array:
    """Return (size, cells + 3): cubic B-spline weights at evenly spaced places."""
    places = (np.arange(size) + 0.5) * cells / size
    knot = np.floor(places).astype(int)
    t = places - knot
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    matrix = np.zeros((size, cells + 3), np.float32)
    for offset in range(4):
        matrix[np.arange(size), np.minimum(knot + offset, cells + 2)] += weights[offset] / 6
    return matrix


def noise(rng: np.random.Generator, height: int, width: int, rows: float, columns: float) -> Array:
    """Return smooth noise (height, width) of about unit deviation, `rows` x `columns` cells."""
    rows, columns = max(1, round(rows)), max(1, round(columns))
    knots = rng.standard_normal((rows + 3, columns + 3), np.float32)
    field: Array = _spline_matrix(height, rows) @ knots @ _spline_matrix(width, columns).T
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
    energy = 0.0
    for octave in range(octaves):
        amplitude = gain**octave
        total += amplitude * noise(rng, height, width, rows * 2**octave, columns * 2**octave)
        energy += amplitude**2
    total /= np.float32(np.sqrt(energy))
    return total


def fbm_line(
    rng: np.random.Generator, width: int, cells: float, octaves: int, gain: float = 0.5
) -> Array:
    """Return one row of noise (width,) of about unit deviation."""
    total = np.zeros(width, np.float32)
    energy = 0.0
    for octave in range(octaves):
        count = max(1, round(cells * 2**octave))
        knots = rng.standard_normal(count + 3, np.float32)
        total += gain**octave * (_spline_matrix(width, count) @ knots)
        energy += gain ** (2 * octave)
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
def _blur_matrix(size: int, sigma: float) -> Array:
    places = np.arange(size)
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / sigma) ** 2)
    matrix: Array = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix


def blur(field: Array, sigma_y: float, sigma_x: float | None = None) -> Array:
    """Return `field` (H, W) or (H, W, C) under a Gaussian; sigmas in pixels, 0 for none."""
    height, width = field.shape[:2]
    sigma_x = sigma_y if sigma_x is None else sigma_x
    result = field
    if sigma_y > 0:
        rows = _blur_matrix(height, round(sigma_y, 1))
        result = (rows @ result.reshape(height, -1)).reshape(field.shape)
    if sigma_x > 0:
        columns = _blur_matrix(width, round(sigma_x, 1))
        result = np.matmul(columns, result) if field.ndim == 3 else result @ columns.T
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


def colour(red: float, green: float, blue: float) -> Array:
    """Return a display colour (3,), each part in [0, 1]."""
    return np.array([red, green, blue], np.float32)
