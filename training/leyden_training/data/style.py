"""The manner of the picture: photograph, anime, oil painting or concept art."""

from __future__ import annotations

import numpy as np

from leyden_training.data import exact
from leyden_training.data.light import Frame, View
from leyden_training.data.noise import (
    Array,
    blur,
    clip,
    colour,
    fbm,
    luma,
    mix,
    noise,
    sample,
    step,
)
from leyden_training.data.scene import Style, Time


def apply_style(image: Array, view: View) -> Array:
    """Return `image` (H, W, 3) redone in the scene's style."""
    scene, frame = view.scene, view.frame
    if scene.style is Style.ANIME:
        return _anime(image, view)
    if scene.style is Style.OIL_PAINTING:
        return _oil(image, view)
    if scene.style is Style.CONCEPT_ART:
        return _concept(image, view)
    return _photograph(image, frame)


def _saturate(image: Array, amount: float) -> Array:
    return mix(luma(image)[..., None], image, amount)


def _contrast(image: Array, amount: float) -> Array:
    curve = image * image * (3 - 2 * image)
    return mix(image, curve, amount)


def _vignette(image: Array, frame: Frame, strength: float) -> Array:
    away = (frame.u - 0.5) ** 2 + (frame.v - 0.5) ** 2
    result: Array = image * (1 - strength * 2 * away)[..., None]
    return result


def _photograph(image: Array, frame: Frame) -> Array:
    bright = clip(image - 0.78, 0, 1)
    bloom = blur(bright, 5 * frame.scale)
    image = clip(image + 0.55 * bloom, 0, 1)
    return _vignette(_contrast(image, 0.35), frame, 0.28)


def _levels(values: Array, count: int, hard: float) -> Array:
    """Quantise [0, 1] into `count` levels with soft steps; `hard` in (0, 1)."""
    scaled = values * count
    whole = np.floor(scaled)
    part = clip((scaled - whole - 0.5) / (1 - hard) + 0.5, 0, 1)
    result: Array = (whole + part) / count
    return result


def _anime(image: Array, view: View) -> Array:
    scene, frame = view.scene, view.frame
    image = clip(image, 0, 1)
    smooth = _keep_lights(_kuwahara(image, max(1, round(1.5 * frame.scale))), image)
    light = luma(smooth)
    flat = _levels(light, 11, 0.5)
    image = smooth * (flat / np.maximum(light, 0.02))[..., None]
    image = _saturate(clip(image, 0, 1.2), 1.15 if scene.time is Time.NIGHT else 1.4)
    soft = blur(light, 0.8 * frame.scale)
    rise_y, rise_x = np.gradient(soft)
    edge = step(0.045, 0.13, np.sqrt(rise_x**2 + rise_y**2) * frame.scale)
    image = mix(image, image * 0.42, (0.75 * edge)[..., None])
    return clip(image * 1.05 + 0.015, 0, 1)


def _box(field: Array, radius: int) -> Array:
    """Return the mean over a square of 2 * radius + 1, edges repeated."""
    size = 2 * radius + 1
    pad = [(radius + 1, radius), (radius + 1, radius)] + [(0, 0)] * (field.ndim - 2)
    total = np.pad(field, pad, mode="edge").cumsum(0, dtype=np.float32)
    total = total[size:] - total[:-size]
    total = total.cumsum(1, dtype=np.float32)
    total = total[:, size:] - total[:, :-size]
    result: Array = total / np.float32(size * size)
    return result


def _kuwahara(image: Array, radius: int) -> Array:
    """Return each pixel's calmest neighbouring square's mean (four squares, softly chosen)."""
    light = luma(image)
    stack = np.concatenate([image, light[..., None], (light * light)[..., None]], axis=-1)
    mean = _box(stack, radius)
    spread = np.maximum(mean[..., 4] - mean[..., 3] ** 2, 0) + 2e-5
    weight = (1 / spread) ** 2
    weighed = np.concatenate([mean[..., :3] * weight[..., None], weight[..., None]], axis=-1)
    padded = np.pad(weighed, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    height, width = light.shape
    total = np.zeros_like(weighed)
    for dy in (0, 2 * radius):
        for dx in (0, 2 * radius):
            total += padded[dy : dy + height, dx : dx + width]
    result: Array = total[..., :3] / total[..., 3:]
    return result


def _keep_lights(painted: Array, image: Array) -> Array:
    """Return `painted` with the small lights of `image` (windows, stars, the moon's rim) kept."""
    lost = step(0.04, 0.14, luma(image - painted))
    return mix(painted, image, lost[..., None])


def _strokes(image: Array, view: View, long: float, wide: float, angle: float) -> Array:
    """Return `image` laid down in strokes: oblong cells of one colour, along `angle`."""
    frame, rng = view.frame, view.rng
    x = np.arange(frame.width, dtype=np.float32)[None, :]
    y = np.arange(frame.height, dtype=np.float32)[:, None]
    cos, sin = (np.float32(part) for part in exact.direction(angle))
    bend = 1.6 * frame.scale * noise(rng, frame.height, frame.width, 9, 9)
    along, across = x * cos + y * sin, -x * sin + y * cos + bend
    reach = frame.width + frame.height
    lanes, cells = int(2 * reach / wide) + 2, int(2 * reach / long) + 4
    lane_place = across / np.float32(wide)
    lane = np.floor(lane_place)
    lane_index = lane.astype(np.intp) + lanes // 2
    offset = rng.random(lanes, np.float32)[lane_index]
    cell = np.floor(along / np.float32(long) + offset)
    centre_along = (cell - offset + 0.5) * np.float32(long)
    centre_across = (lane + 0.5) * np.float32(wide) - bend
    column = centre_along * cos - centre_across * sin
    row = centre_along * sin + centre_across * cos
    row = clip(row, 0, frame.height - 1).astype(np.intp)
    column = clip(column, 0, frame.width - 1).astype(np.intp)
    tones = rng.uniform(-1, 1, (lanes, cells)).astype(np.float32)
    tone = tones[lane_index, clip(cell.astype(np.intp) + cells // 2, 0, cells - 1)]
    ridge = np.abs(lane_place - lane - 0.5) * 2
    painted: Array = np.take(image.reshape(-1, 3), row * frame.width + column, axis=0)
    painted *= (1 + 0.05 * tone - 0.05 * ridge * ridge)[..., None]
    return painted


def _oil(image: Array, view: View) -> Array:
    scene, light, frame, rng = view
    image = clip(image, 0, 1)
    scale = frame.scale
    base = _kuwahara(image, max(2, round(2 * scale)))
    turn = float(rng.uniform(-0.6, 0.6))
    first = _strokes(base, view, 18 * scale, 5.0 * scale, turn)
    second = _strokes(base, view, 13 * scale, 4.0 * scale, turn + float(rng.uniform(0.6, 1.0)))
    patches = step(-0.35, 0.35, noise(rng, frame.height, frame.width, 9, 9))
    painted = mix(first, second, patches[..., None])
    rise_y, rise_x = np.gradient(luma(base))
    detail = blur(step(0.02, 0.10, np.sqrt(rise_x**2 + rise_y**2) * scale), 1.8 * scale)
    painted = mix(painted, base, clip(1.5 * detail, 0, 0.9)[..., None])
    painted = _keep_lights(blur(painted, 0.6 * scale), image)
    if light.sun_visible:  # its round edge stays
        away = exact.hypot(
            (frame.u - light.sun_u) * frame.width, (frame.v - light.sun_v) * frame.height
        )
        radius = np.float32(light.sun_radius * 256 * scale)
        near = step(1.0, 0.0, (away - 1.1 * radius) / (0.5 * radius))
        painted = mix(painted, base, near[..., None])
    painted = _contrast(_saturate(painted, 1.05 if scene.time is Time.SUNSET else 1.15), 0.3)
    canvas = mix(painted, painted * colour(1.04, 0.99, 0.88) + colour(0.03, 0.018, 0.0), 0.9)
    return clip(canvas, 0, 1)


def _shafts(image: Array, view: View) -> Array:
    """Return light (H, W) smeared away from the sun, worked out on a quarter of the rows."""
    light, frame = view.light, view.frame
    bright = clip((luma(image) - 0.78) * 3, 0, 1)[::4, ::4]
    height, width = bright.shape
    sun_x, sun_y = light.sun_u * width, light.sun_v * height
    x = np.arange(width, dtype=np.float32)[None, :] + np.zeros((height, 1), np.float32)
    y = np.arange(height, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32)
    total = bright
    for share in (0.06, 0.12, 0.24):
        moved = sample(total, y + (sun_y - y) * share, x + (sun_x - x) * share)
        total = 0.5 * (total + moved)
    rows = np.linspace(0, height - 1.01, frame.height, dtype=np.float32)[:, None]
    columns = np.linspace(0, width - 1.01, frame.width, dtype=np.float32)[None, :]
    return sample(blur(total, 1.5), rows + 0 * columns, columns + 0 * rows)


def _concept(image: Array, view: View) -> Array:
    scene, light, frame, rng = view
    image = clip(image, 0, 1)
    painted = _keep_lights(_kuwahara(image, max(2, round(2.2 * frame.scale))), image)
    if light.sun_visible:
        power = 0.2 if scene.time is Time.NIGHT else 0.28
        painted = painted + power * _shafts(painted, view)[..., None] * light.sun
    grey = _saturate(clip(painted, 0, 1), 0.55)
    lightness = luma(grey)[..., None]
    teal, orange = colour(0.66, 1.02, 1.10), colour(1.14, 0.98, 0.78)
    if scene.time in {Time.DAY, Time.NIGHT}:
        orange = colour(1.06, 1.0, 0.88)
    graded: Array = grey * mix(teal, orange, step(0.25, 0.80, lightness))
    wash = fbm(rng, frame.height, frame.width, 9, 4, octaves=2)  # broad strokes of the brush
    graded = graded * (1 + 0.035 * wash)[..., None]
    graded = _contrast(clip(graded, 0, 1), 0.55)
    return _vignette(graded, frame, 0.5)
