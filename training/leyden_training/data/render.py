"""Paint a scene: sky, land, water, what stands there, then the style."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from leyden_training.data import exact
from leyden_training.data.city import paint_city
from leyden_training.data.forest import paint_forest
from leyden_training.data.light import Frame, View, make_light
from leyden_training.data.noise import Array, clip, colour, fbm_line, mix, noise, step
from leyden_training.data.objects import paint_cabin, paint_sailboat, paint_trees
from leyden_training.data.scene import Extra, Scene, Terrain, Time
from leyden_training.data.sky import paint_sky
from leyden_training.data.style import apply_style
from leyden_training.data.terrain import Ground, paint_ground
from leyden_training.data.water import paint_mirror, paint_ocean

Pixels = npt.NDArray[np.uint8]

MIN_SIZE_PX, MAX_SIZE_PX = 64, 1024


def render(scene: Scene, *, width_px: int, height_px: int, seed: int) -> Pixels:
    """Return a picture of `scene`, uint8 (height_px, width_px, 3), sRGB.

    The same scene, size and seed give the same picture on every machine (see `exact`). What
    the scene leaves open (the sun's place, the horizon, the peaks, the palette) is drawn from
    the seed.

    Raises:
        ValueError: if a size is outside [64, 1024] or the seed is negative.

    """
    for name, size in (("width_px", width_px), ("height_px", height_px)):
        if not MIN_SIZE_PX <= size <= MAX_SIZE_PX:
            raise ValueError(f"{name}: {size} is outside [{MIN_SIZE_PX}, {MAX_SIZE_PX}]")
    if seed < 0:
        raise ValueError(f"seed: {seed} is negative; it is 0 or more")
    rng = np.random.default_rng(seed)
    frame = Frame(width_px, height_px)
    light = make_light(scene, rng)
    view = View(scene, light, frame, rng)
    image = paint_sky(view)
    painters = {
        Terrain.OCEAN: _ocean,
        Terrain.FOREST: _forest,
        Terrain.CITY: _city,
        Terrain.LAKE: _lake,
    }
    painters.get(scene.terrain, _land)(image, view)
    image = apply_style(clip(image, 0, 1), view)
    pixels: Pixels = (clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels


def _over(image: Array, ground: Ground) -> None:
    np.copyto(image, mix(image, ground.image, ground.cover[..., None]))


def _land(image: Array, view: View) -> None:
    scene, frame, rng = view.scene, view.frame, view.rng
    ground = paint_ground(view)
    _over(image, ground)
    cabin = None
    if Extra.CABIN in scene.extras:
        size = float(rng.uniform(50, 72)) * frame.scale
        cabin = _cabin_place(ground, view, size)
    if Extra.TREES in scene.extras:
        clear = (cabin[0] - size * 0.75, cabin[0] + size * 0.75) if cabin else None
        paint_trees(image, ground, view, clear)
    if cabin:
        paint_cabin(image, cabin[0], cabin[1], size, view)


def _cabin_place(ground: Ground, view: View, size: float) -> tuple[float, float]:
    """Return a seen place (x, y) about a quarter above the lower edge."""
    frame, rng = view.frame, view.rng
    x = float(rng.uniform(0.22, 0.78)) * frame.width
    want = float(rng.uniform(0.78, 0.90)) * frame.height
    column = int(x)
    rows = np.where(ground.seen[:, column], ground.rows[:, column], -1e6)
    nearest = int(np.argmin(np.abs(rows - want)))
    return x, min(float(rows[nearest]), frame.height - 0.06 * size)


def _ocean(image: Array, view: View) -> None:
    scene, light, frame, rng = view
    if rng.random() < 0.35:
        _headland(image, view)
    paint_ocean(image, view)
    if Extra.SAILBOAT in scene.extras:
        size = float(rng.uniform(44, 84)) * frame.scale
        base = (light.horizon_v + rng.uniform(0.05, 0.16)) * frame.height
        x = _aside(view)
        paint_sailboat(image, x, base, size, view)


def _aside(view: View) -> float:
    """Return a column, in pixels, that is likely off the sun's."""
    light, frame, rng = view.light, view.frame, view.rng
    u = float(rng.uniform(0.2, 0.8))
    if abs(u - light.sun_u) < 0.12:
        u = light.sun_u + (0.2 if light.sun_u < 0.5 else -0.2)
    return u * frame.width


def _headland(image: Array, view: View) -> None:
    """Draw a far, hazy coast on one side of the horizon."""
    light, frame, rng = view.light, view.frame, view.rng
    side = frame.u if rng.random() < 0.5 else 1 - frame.u
    fall = step(0.65, 0.0, side)[0]
    rise = fall * (0.085 + 0.022 * fbm_line(rng, frame.width, 4, 4))
    cover = clip((frame.v - (light.horizon_v - rise)[None, :]) * frame.height + 0.5, 0, 1)
    tint = mix(light.ambient * colour(0.6, 0.7, 0.75), light.fog, 0.6)
    np.copyto(image, mix(image, tint, (cover * (rise > 0.004))[..., None]))


def _forest(image: Array, view: View) -> None:
    scene, frame, rng = view.scene, view.frame, view.rng
    x, base = paint_forest(image, view)
    if Extra.CABIN in scene.extras:
        size = float(rng.uniform(52, 74)) * frame.scale
        paint_cabin(image, x, base, size, view)


def _city(image: Array, view: View) -> None:
    light, frame, rng = view.light, view.frame, view.rng
    base = min(light.horizon_v + 0.04, 0.86)
    fill = clip((frame.v - base) * frame.height + 0.5, 0, 1)[..., None]
    np.copyto(image, mix(image, light.ambient * 0.4, fill))
    paint_city(image, base, view)
    water = clip((frame.v - base) * frame.height, 0, 1) + 0 * frame.u
    paint_mirror(image, water, base, view, float(rng.uniform(0.0, 0.5)))


def _lake(image: Array, view: View) -> None:
    scene, light, frame, rng = view
    ground = paint_ground(view)
    _over(image, ground)
    if Extra.TREES in scene.extras:
        paint_trees(image, ground, view, None)
    # The far shore: where the plane of the water meets the land, near the walk's rise.
    wet = ground.seen & (ground.heights < 0.0)
    rows = np.where(wet, ground.rows, np.inf).min(axis=0)
    found = rows[np.isfinite(rows)]
    line = float(np.median(found)) if found.size else (light.horizon_v + 0.1) * frame.height
    line = min(max(line, (light.horizon_v + 0.04) * frame.height), 0.74 * frame.height)
    wander = 0.006 * frame.height * fbm_line(rng, frame.width, 5, 3)
    edge = (line + wander)[None, :]
    y = np.arange(frame.height, dtype=np.float32)[:, None]
    water = clip(y - edge + 0.5, 0, 1)
    calm = float(rng.uniform(0.35, 1.0))
    paint_mirror(image, water, line / frame.height, view, calm)
    shore = exact.exp(-(((y - edge) / (1.3 * frame.scale)) ** 2))
    np.copyto(image, mix(image, mix(light.fog, light.horizon, 0.4), (0.35 * shore)[..., None]))
    if scene.time is Time.SUNRISE:
        _mist(image, line / frame.height, view)
    left = bool(rng.random() < 0.5)  # the bank's side; the boat keeps to the other
    if Extra.CABIN in scene.extras:
        _bank(image, left, view)
    if Extra.SAILBOAT in scene.extras:
        size = float(rng.uniform(42, 66)) * frame.scale
        base = line + float(rng.uniform(0.05, 0.16)) * frame.height
        x = _aside(view)
        if Extra.CABIN in scene.extras:
            x = float(rng.uniform(0.60, 0.82) if left else rng.uniform(0.18, 0.40)) * frame.width
        paint_sailboat(image, x, base, size, view)


def _mist(image: Array, line: float, view: View) -> None:
    light, frame, rng = view.light, view.frame, view.rng
    drift = step(-1.4, 1.4, noise(rng, frame.height, frame.width, 14, 3))
    veil = exact.exp(-(((frame.v - line) / 0.035) ** 2)) * (0.25 + 0.5 * drift)
    np.copyto(image, mix(image, mix(light.fog, light.sun, 0.35), veil[..., None]))


def _bank(image: Array, left: bool, view: View) -> None:
    """Draw a near bank in the lower left or right corner with a cabin on it."""
    light, frame, rng = view.light, view.frame, view.rng
    side = frame.u if left else 1 - frame.u
    rise = step(0.60, 0.05, side)[0] * 0.20 + 0.008 * fbm_line(rng, frame.width, 6, 2)
    edge = 1.0 - rise
    cover = clip((frame.v - edge[None, :]) * frame.height + 0.5, 0, 1)
    power = light.ambient + 0.5 * light.direct
    grass = mix(colour(0.30, 0.40, 0.18), colour(0.44, 0.50, 0.24), float(rng.random()))
    patches = noise(rng, frame.height, frame.width, 24, 12)
    tint = (grass * power)[None, None] * (1 + 0.07 * patches)[..., None]
    np.copyto(image, mix(image, tint, cover[..., None]))
    x = (0.24 if left else 0.76) * frame.width
    base = (float(edge[int(x)]) + 0.035) * frame.height
    paint_cabin(image, x, base, float(rng.uniform(50, 66)) * frame.scale, view)
