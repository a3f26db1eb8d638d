"""Water: the sea to the horizon, and the mirror of a lake or a river."""

from __future__ import annotations

import numpy as np

from leyden_training.data import exact
from leyden_training.data.light import View
from leyden_training.data.noise import Array, blur, clip, colour, fbm, mix, noise, sample, step
from leyden_training.data.scene import Sky, Time


def _waves(view: View, top_v: float, fine: float = 1.0) -> Array:
    """Return wave noise (H, W) of unit deviation: wide and flat, finer towards `top_v`."""
    frame, rng = view.frame, view.rng
    rows, columns = 256, 384
    texture = fbm(rng, rows, columns, 34 * fine, 16 * fine, octaves=3, gain=0.6)
    below = np.maximum(frame.v - top_v, 0.0) + 0.02
    near = 1 / below
    y = rows * (0.98 - 0.92 * (exact.log(near / near.min())) / exact.log(near.max() / near.min()))
    spread = clip(0.16 / below, 0.22, 1.0)
    x = columns * (0.5 + (frame.u - 0.5) * spread * 0.98)
    return sample(texture, y + np.zeros_like(x), x)


def paint_ocean(image: Array, view: View) -> None:
    """Paint the sea under the horizon into `image`, in place."""
    scene, light, frame, rng = view
    deep = {
        Time.SUNRISE: colour(0.26, 0.42, 0.54),
        Time.DAY: colour(0.03, 0.30, 0.50),
        Time.SUNSET: colour(0.20, 0.15, 0.30),
        Time.NIGHT: colour(0.02, 0.06, 0.15),
    }[scene.time] + rng.normal(0, 0.02, 3).astype(np.float32)
    if scene.sky is Sky.STORMY:
        deep = mix(deep, colour(0.16, 0.22, 0.26), 0.7)
    top = light.horizon_v
    t = clip((frame.v - top) / (1 - top), 0, 1)
    rough = 1.6 if scene.sky is Sky.STORMY else float(rng.uniform(0.5, 1.0))
    waves = _waves(view, top, float(rng.uniform(0.7, 1.1)))
    fresnel = clip(0.78 * exact.exp(-2.6 * t) + 0.10 + 0.10 * rough * waves, 0, 1)
    mirror = mix(light.horizon, light.middle, step(0.1, 0.9, t)[..., None])
    mirror = mix(mirror, light.fog, 0.25)
    sea = mix(deep, mirror, fresnel[..., None])
    sea = sea * (1 + 0.12 * rough * waves * step(0.0, 0.25, t))[..., None]
    if scene.sky is Sky.STORMY:
        foam = step(1.35, 1.9, waves) * step(0.03, 0.2, t)
        sea = mix(sea, light.cloud_lit * 1.05, (0.75 * foam)[..., None])
    if light.sun_visible:
        width = 0.035 + 0.16 * t + 0.9 * light.sun_radius
        path = exact.exp(-(((frame.u - light.sun_u) / width) ** 2))
        spark = step(-0.1, 1.1, waves + 1.5 * path - 0.45) * path
        power = {Time.DAY: 0.55, Time.NIGHT: 0.60}.get(scene.time, 0.90)
        tint = mix(light.sun, light.horizon, 0.25 if scene.time is not Time.NIGHT else 0.45)
        sea = mix(sea, tint, (power * spark)[..., None])
    line = mix(light.fog, light.horizon, 0.5)
    sea = mix(sea, line, 0.55 * exact.exp(-t / 0.035)[..., None])
    cover = clip((frame.v - top) * frame.height + 0.5, 0, 1)[..., None]
    np.copyto(image, mix(image, sea, cover))
    if rng.random() < 0.45:
        _beach(image, view)


def _beach(image: Array, view: View) -> None:
    light, frame, rng = view.light, view.frame, view.rng
    slope = rng.uniform(-0.16, 0.16)
    edge = 0.89 + slope * (frame.u - 0.5) + 0.012 * noise(rng, 1, frame.width, 1, 4)
    inside = (frame.v - edge) * frame.height / frame.scale  # px at 256
    sand = colour(0.86, 0.74, 0.56) * (light.ambient * 1.0 + light.direct * 0.6)
    wet = mix(sand * 0.72, light.horizon, 0.30)
    beach = mix(wet, sand, step(4, 16, inside)[..., None])
    np.copyto(image, mix(image, beach, step(-1, 1.5, inside)[..., None]))
    foam = exact.exp(-((inside / 2.6) ** 2)) + 0.5 * exact.exp(-(((inside + 10) / 2.0) ** 2))
    white = clip(light.ambient + light.direct * 0.75, 0, 1)
    np.copyto(image, mix(image, white, clip(foam, 0, 0.85)[..., None]))


def paint_mirror(image: Array, cover: Array, line_v: float, view: View, calm: float) -> None:
    """Paint water into `image`, in place, that mirrors what stands above a line.

    Args:
        image: (H, W, 3).
        cover: (H, W), where the water is.
        line_v: the shore's row as a share of the height.
        view: gives the water's own colour, the palette, the size and the ripples' chance.
        calm: 0 for ripples, 1 for a mirror.

    """
    scene, light, frame = view.scene, view.light, view.frame
    ripple = _waves(view, line_v, 0.8)
    t = clip((frame.v - line_v) / (1 - line_v), 0, 1)
    reach = (3.0 - 2.2 * calm) * frame.scale * (0.3 + t)
    line = line_v * frame.height
    y = 2 * line - (np.arange(frame.height, dtype=np.float32)[:, None]) + ripple * reach * 1.4
    x = np.arange(frame.width, dtype=np.float32)[None, :] + ripple * reach * 0.5
    below = max(0, int(line) - 2)
    mirrored = sample(image, clip(y[below:], 0, line - 1), x[below:])
    mirrored = blur(mirrored, 0.9 * frame.scale, 0.5 * frame.scale)
    own = {
        Time.SUNRISE: colour(0.36, 0.50, 0.58),
        Time.DAY: colour(0.08, 0.34, 0.46),
        Time.SUNSET: colour(0.22, 0.18, 0.32),
        Time.NIGHT: colour(0.03, 0.08, 0.17),
    }[scene.time]
    share = clip(0.12 + 0.40 * t + (0.10 * (1 - calm) + 0.03) * ripple, 0, 0.8)[below:]
    water = mix(mirrored * 0.95, own, share[..., None])
    if light.sun_visible and scene.time is not Time.DAY:
        width = 0.03 + 0.06 * t + light.sun_radius * 0.6
        path = exact.exp(-(((frame.u - light.sun_u) / width) ** 2))
        spark = (step(0.0, 1.4, ripple + path * 0.9 - 0.3) * path)[below:]
        water = mix(water, light.sun, (0.50 * spark)[..., None])
    band = image[below:]
    np.copyto(band, mix(band, water, cover[below:, :, None]))
