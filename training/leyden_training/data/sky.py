"""The sky: its gradient, sun or moon, stars, aurora and clouds."""

from __future__ import annotations

import numpy as np

from leyden_training.data import exact
from leyden_training.data.light import View
from leyden_training.data.noise import (
    Array,
    blur,
    clip,
    colour,
    fbm,
    fbm_line,
    mix,
    noise,
    sample,
    step,
)
from leyden_training.data.scene import Sky, Style, Time


def paint_sky(view: View) -> Array:
    """Return the sky over the whole picture, float32 (H, W, 3)."""
    scene, light, rng = view.scene, view.light, view.rng
    image = _gradient(view)
    sun = _sun_distance(view)
    if scene.time is not Time.NIGHT and light.sun_visible:
        _glow(image, view, sun)
    if scene.sky is Sky.STARRY:
        _milky_way(image, view)
        _stars(image, view, 130)
    if scene.sky is Sky.AURORA:
        _stars(image, view, 60)
        _aurora(image, view)
    if light.sun_visible:
        _disc(image, view, sun)
    if scene.sky is Sky.CLOUDY:
        _clouds(image, view)
    elif scene.sky is Sky.STORMY:
        _storm(image, view)
    elif scene.sky is Sky.CLEAR and rng.random() < 0.6:
        _wisps(image, view)
    return image


def _gradient(view: View) -> Array:
    light, frame = view.light, view.frame
    t = clip(frame.v / light.horizon_v, 0, 1)[..., None]
    low = step(0.42, 1.0, t)
    high = step(0.0, 0.62, t)
    column = mix(mix(light.zenith, light.middle, high), light.horizon, low)
    return np.repeat(column.astype(np.float32), frame.width, axis=1)


def _sun_distance(view: View) -> Array:
    """Return (H, W): the distance to the sun in shares of the square root of the area."""
    light, frame = view.light, view.frame
    root = np.sqrt(frame.width * frame.height)
    x = (frame.u - light.sun_u) * np.float32(frame.width / root)
    y = (frame.v - light.sun_v) * np.float32(frame.height / root)
    distance: Array = np.sqrt(x * x + y * y)
    return distance


def _glow(image: Array, view: View, sun: Array) -> None:
    scene, light = view.scene, view.light
    wide, strength = (0.16, 0.42) if scene.time is Time.DAY else (0.24, 0.70)
    halo = strength * exact.exp(-sun / wide) + 0.35 * exact.exp(-((sun / 0.09) ** 2))
    tint = light.sun if scene.time is Time.DAY else mix(light.sun, light.horizon, 0.45)
    np.copyto(image, mix(image, tint, clip(halo, 0, 1)[..., None]))


def _disc(image: Array, view: View, sun: Array) -> None:
    scene, light, frame, rng = view
    root = np.sqrt(frame.width * frame.height)
    cover = clip((light.sun_radius - sun) * root + 0.5, 0, 1)
    if scene.time is not Time.NIGHT:
        np.copyto(image, mix(image, mix(light.sun, colour(1, 1, 1), 0.45), cover[..., None]))
        return
    halo = 0.42 * exact.exp(-sun / 0.10) + 0.25 * exact.exp(-((sun / 0.06) ** 2))
    image += halo[..., None] * colour(0.55, 0.66, 0.88)
    if rng.random() < 0.35:  # a crescent: a second disc is cut out
        shift = light.sun_radius * 0.55
        x = (frame.u - light.sun_u) * np.float32(frame.width / root) - shift
        y = (frame.v - light.sun_v) * np.float32(frame.height / root) + shift * 0.5
        other = np.sqrt(x * x + y * y)
        cover *= clip((other - light.sun_radius * 0.95) * root + 0.5, 0, 1)
        face = np.ones_like(sun)
    else:
        face = 1 - 0.10 * step(0.2, 1.2, noise(rng, frame.height, frame.width, 24, 24))
    np.copyto(image, mix(image, light.sun * face[..., None], cover[..., None]))


def _stars(image: Array, view: View, count: int) -> None:
    """Add Gaussian dots of 2 to 4 pixels, each in a small window."""
    light, frame, rng = view.light, view.frame, view.rng
    count = round(count * frame.width * frame.height / 65536 * rng.uniform(0.75, 1.3))
    reach = max(3, round(3 * frame.scale))
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    xs = rng.uniform(reach, frame.width - reach - 1, count)
    ys = rng.uniform(reach, frame.height * light.horizon_v, count)
    chance = rng.random(count)
    sizes = (0.62 + 0.55 * (chance * chance * chance)) * frame.scale
    chance = rng.random(count)
    powers = 0.35 + 0.65 * (chance * np.sqrt(chance))
    columns, rows = xs.astype(int), ys.astype(int)
    bells_x = _bells(offsets, columns - xs, sizes)
    bells_y = _bells(offsets, rows - ys, sizes)
    moon_x, moon_y = light.sun_u * frame.width, light.sun_v * frame.height
    clear = (light.sun_radius * 256 + 8) * frame.scale
    far = exact.hypot(xs - moon_x, ys - moon_y) >= clear
    hues = rng.random(count)
    for star in np.flatnonzero(far):
        column, row = int(columns[star]), int(rows[star])
        tint = mix(colour(0.80, 0.88, 1.0), colour(1.0, 0.95, 0.82), float(hues[star]))
        dot = (powers[star] * bells_y[star][:, None] * bells_x[star])[..., None] * tint
        top = max(0, row - reach)
        window = image[top : row + reach + 1, column - reach : column + reach + 1]
        window += dot[top - (row - reach) :][: window.shape[0]]


def _bells(offsets: Array, shifts: Array, sizes: Array) -> Array:
    """Return a Gaussian (stars, offsets) of each star's size about its fraction of a pixel."""
    away = (offsets[None, :] + shifts[:, None]) / sizes[:, None]
    return exact.exp(-(away * away) / 2)


def _milky_way(image: Array, view: View) -> None:
    frame, rng = view.frame, view.rng
    slope, middle = rng.uniform(-1.2, 1.2), rng.uniform(0.25, 0.75)
    cloud = fbm(rng, frame.height, frame.width, 4, 4, octaves=4)
    across = (frame.u - middle) + slope * (frame.v - 0.3) + 0.05 * cloud
    band = exact.exp(-((across / 0.17) ** 2)) * (0.6 + 0.4 * step(-1, 1.2, cloud))
    dust = step(0.1, 1.4, fbm(rng, frame.height, frame.width, 6, 6, octaves=3))
    core = exact.exp(-((across / 0.05) ** 2)) * dust
    strength = float(rng.uniform(0.4, 1.0))
    image += (strength * band)[..., None] * colour(0.15, 0.16, 0.27)
    image -= (strength * 0.6 * core)[..., None] * colour(0.10, 0.09, 0.09)


def _aurora(image: Array, view: View) -> None:
    """Add two or three curtains: sharp lower edge, light fading upward, vertical rays."""
    light, frame, rng = view.light, view.frame, view.rng
    base = rng.uniform(0.55, 0.85) * light.horizon_v
    second = np.array((0.52, 0.25, 0.80) if rng.random() < 0.6 else (0.10, 0.55, 0.75), np.float32)
    for _ in range(int(rng.integers(2, 4))):
        edge = base + 0.10 * fbm_line(rng, frame.width, 2, 3) + rng.uniform(-0.16, 0.06)
        rays = 0.55 + 0.45 * exact.tanh(fbm_line(rng, frame.width, 14, 2))
        folds = step(-1.8, 0.4, fbm_line(rng, frame.width, 2.5, 2))
        height = (edge[None, :] - frame.v) / (0.30 * (0.6 + 0.4 * rays[None, :]))
        fall = np.where(height > 0, exact.exp(-2.2 * np.maximum(height, 0)), 0)
        fall *= step(-0.02, 0.10, height)
        strength = (fall * rays[None, :] * folds[None, :])[..., None] * float(rng.uniform(0.6, 1))
        tint = mix(colour(0.18, 0.92, 0.52), second, clip(height * 0.9, 0, 1)[..., None])
        image += strength * tint * 1.15


def _cloud_field(view: View, stretch: float, octaves: int) -> Array:
    """Return cloud density (H, W) on a ceiling seen in perspective: finer at the horizon."""
    light, frame, rng = view.light, view.frame, view.rng
    rows = 128
    texture = fbm(rng, rows * 2, rows * 3, 7, 10 / stretch, octaves=octaves, gain=0.52)
    depth = 1 / np.maximum(light.horizon_v * 1.12 - frame.v, 0.06)  # far near the horizon
    y = rows * 2 * (exact.log(depth) - 0.0) / 3.0 + np.zeros_like(frame.u)
    spread = 0.30 + 0.70 * clip(depth / 12, 0, 1)
    x = rows * 3 * (0.5 + (frame.u - 0.5) * spread)
    return sample(texture, y, x)


def _clouds(image: Array, view: View) -> None:
    scene, light, frame, rng = view
    density = _cloud_field(view, float(rng.uniform(1.0, 2.2)), 5)
    anime = scene.style is Style.ANIME
    cover_at = float(rng.uniform(-0.25, 0.45))
    edge = 0.22 if anime else 0.75
    cover = step(cover_at, cover_at + edge, density)
    cover *= step(0.0, 0.35, 1 - frame.v / (light.horizon_v * 1.06)) * 0.4 + 0.6
    sun = _sun_distance(view)
    if light.sun_visible:  # the sun shines through
        square = (sun / (1.7 * light.sun_radius)) ** 2
        cover *= 1 - 0.9 * exact.exp(-(square * square))
    # Light from the sun's side: the field's rise along that direction is the lit rim.
    shift = max(2, round(5 * frame.scale))
    side = shift if light.sun_u > 0.5 else -shift
    low = scene.time in {Time.SUNRISE, Time.SUNSET}
    padded = np.pad(density, shift, mode="edge")
    down, along = shift + (shift if low else -shift), shift + side
    moved = padded[down : down + frame.height, along : along + frame.width]
    lit = step(-0.5, 0.9, (density - moved) * 1.3 + (0.25 if not low else 0.1))
    if anime:
        lit = step(0.35, 0.6, lit)
    thick = step(cover_at + 0.3, cover_at + 2.0, density)
    near = exact.exp(-sun / 0.35) if light.sun_visible else 0.0
    tone = clip(lit * (1 - 0.45 * thick) + 0.35 * near, 0, 1)[..., None]
    body = mix(light.cloud_shade, light.cloud_lit, tone)
    np.copyto(image, mix(image, body, (0.92 * cover)[..., None]))


def _storm(image: Array, view: View) -> None:
    light, frame, rng = view.light, view.frame, view.rng
    density = _cloud_field(view, 1.6, 5)
    big = fbm(rng, frame.height, frame.width, 2.5, 2.5, octaves=3)
    tone = step(-1.5, 1.5, 0.75 * density + 0.6 * big)
    body = mix(light.cloud_shade, light.cloud_lit, tone[..., None])
    gap = step(0.72, 1.02, frame.v / light.horizon_v + 0.05 * big)  # light under the clouds
    np.copyto(image, mix(image, body, (0.95 - 0.8 * gap)[..., None]))
    if rng.random() < 0.6:  # shafts of rain
        rain = step(0.3, 1.5, fbm_line(rng, frame.width, 5, 2))[None, :]
        rain = rain * step(0.45, 0.8, frame.v / light.horizon_v)
        np.copyto(image, mix(image, light.cloud_shade, (0.35 * rain)[..., None]))


def _wisps(image: Array, view: View) -> None:
    light, rng = view.light, view.rng
    density = _cloud_field(view, 5.0, 4)
    cover = step(0.5, 2.4, density) * float(rng.uniform(0.3, 0.7))
    np.copyto(image, mix(image, light.cloud_lit, blur(cover, 1.0)[..., None]))
