"""The land: a height map seen in perspective, after the voxel-space method.

For each column of the picture the terrain is walked from near to far; what rises above
all that is nearer is seen. Colours are worked out on the walk's own grid (depth, column)
and looked up for rows three times as fine as the picture's, which are then averaged down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leyden_training.data import exact
from leyden_training.data.light import Frame, View
from leyden_training.data.noise import Array, clip, colour, mix, noise, sample, step
from leyden_training.data.scene import Extra, Terrain, Time

_NEAR, _FAR, _STEPS = 0.75, 9.0, 230
_TEXELS = 36.0  # of the height map for a unit of length
_FINE = 3  # rows looked up for one row of the picture


@dataclass(frozen=True)
class Ground:
    """The land as seen.

    Attributes:
        image: (H, W, 3), the land's colour where it is seen.
        cover: (H, W), 1 where land is seen, 0 where sky is, between at the edge.
        depths: (D,), the walk's distances, near to far.
        rows: (D, W), the row at which each place of the walk stands, in pixels.
        seen: (D, W), whether it is seen.
        heights: (D, W), its height over the plain.
        flat: (D, W), its normal's upward part, 1 where level.
        focal: pixels for a unit of length at distance 1.

    """

    image: Array
    cover: Array
    depths: Array
    rows: Array
    seen: npt.NDArray[np.bool_]
    heights: Array
    flat: Array
    focal: float


@dataclass(frozen=True)
class _Map:
    height: Array
    slope_x: Array
    slope_z: Array
    mottle: Array
    half_width: float


def paint_ground(view: View) -> Ground:
    """Return the land of mountains, hills, a desert or the mountains behind a lake."""
    scene, light, frame = view.scene, view.light, view.frame
    focal = float(np.sqrt(frame.width * frame.height)) * 1.0
    terrain = _height_map(view, focal)
    camera = 0.62 if scene.terrain is Terrain.DESERT else 0.36
    ends = exact.log(np.array([_NEAR, _FAR]))
    depths = exact.exp(np.linspace(ends[0], ends[1], _STEPS)).astype(np.float32)
    columns = (np.arange(frame.width, dtype=np.float32) + 0.5) - frame.width / 2
    x = columns[None, :] / focal * depths[:, None]
    place_x = (x + terrain.half_width) * _TEXELS
    place_z = np.broadcast_to(depths[:, None] * _TEXELS, x.shape)
    stack = np.stack([terrain.height, terrain.slope_x, terrain.slope_z, terrain.mottle], axis=-1)
    found = sample(stack, place_z, place_x)
    height, slope_x, slope_z, mottle = (found[..., i] for i in range(4))
    rows = light.horizon_v * frame.height - focal * (height - camera) / depths[:, None]
    top = np.minimum.accumulate(rows, axis=0)
    flat = 1 / np.sqrt(1 + slope_x**2 + slope_z**2)
    tint = _shade(view, depths, height, (slope_x, slope_z, flat), mottle)
    tint = _haze(view, tint, depths, height, columns)
    image, cover = _rasterise(tint, top, frame)
    return Ground(
        image=image,
        cover=cover,
        depths=depths,
        rows=rows,
        seen=(rows <= top + 0.01),
        heights=height,
        flat=flat,
        focal=focal,
    )


def _ridges(rng: np.random.Generator, shape: tuple[int, ...], cell: float, octaves: int) -> Array:
    """Return ridged noise in about [0, 1]; each octave is stronger where the last is high."""
    rows, columns = shape
    total = np.zeros((rows, columns), np.float32)
    weight = np.ones((rows, columns), np.float32)
    amplitude, norm = 1.0, 0.0
    for octave in range(octaves):
        size = cell / 2**octave * _TEXELS
        field = noise(rng, rows, columns, rows / size, columns / size)
        ridge = np.maximum(1 - np.abs(field) * 0.85, 0) ** 2
        total += amplitude * ridge * weight
        weight = clip(ridge * 1.4, 0.15, 1)
        norm += amplitude
        amplitude *= 0.5
    total /= np.float32(norm * 0.72)
    return total


def _height_map(view: View, focal: float) -> _Map:
    scene, frame, rng = view.scene, view.frame, view.rng
    half_width = _FAR * frame.width / focal / 2 + 0.1
    rows, columns = round(_FAR * _TEXELS) + 4, round(2 * half_width * _TEXELS)
    z = (np.arange(rows, dtype=np.float32) / _TEXELS)[:, None]
    x = (np.arange(columns, dtype=np.float32) / _TEXELS)[None, :] - np.float32(half_width)

    def waves(cell: float, depth_cell: float | None = None) -> Array:
        tall = (depth_cell or cell) * _TEXELS
        return noise(rng, rows, columns, rows / tall, columns / (cell * _TEXELS))

    if scene.terrain in {Terrain.MOUNTAINS, Terrain.LAKE}:
        height = _mountains(view, x, z, waves(1.6), waves(0.5))
    elif scene.terrain is Terrain.DESERT:
        height = _dunes(rng, (x, z), waves(2.2), waves(1.1, 1.4), waves(3.0))
    else:
        height = 0.30 * waves(2.4, 1.5) + 0.10 * waves(1.0, 0.8) + 0.035 * waves(0.35)
        height *= 0.25 + 0.75 * step(0.6, 3.0, z)
        far = step(3.0, 7.5, z)
        height += far * (0.42 * _ridges(rng, (rows, columns), 3.0, 3))
    slope_z, slope_x = (
        np.gradient(height, 1 / _TEXELS, axis=axis).astype(np.float32) for axis in (0, 1)
    )
    mottle = 0.7 * waves(0.7) + 0.6 * waves(0.2) + 0.45 * waves(0.09)
    return _Map(height, slope_x, slope_z, mottle, half_width)


def _mountains(view: View, x: Array, z: Array, broad: Array, fine: Array) -> Array:
    """Return a range of three to six peaks behind a plain, or behind a lake below 0."""
    scene, rng = view.scene, view.rng
    ridges = _ridges(rng, broad.shape, float(rng.uniform(1.5, 2.3)), 5)
    cones = np.zeros_like(ridges)
    for _ in range(int(rng.integers(3, 7))):
        peak_z = rng.uniform(4.2, 7.0)
        peak_x = rng.uniform(-0.5, 0.5) * peak_z * x.max() / _FAR * 2
        reach, tall = rng.uniform(1.2, 2.2), rng.uniform(1.05, 1.95) * peak_z / 5.5
        away = np.sqrt((x - peak_x) ** 2 + (1.15 * (z - peak_z)) ** 2 + 0.02) / reach
        cones = np.maximum(cones, tall * exact.exp(-1.3 * away))
    lake = scene.terrain is Terrain.LAKE
    start = float(rng.uniform(2.6, 3.4)) if lake else float(rng.uniform(1.8, 3.0))
    rise = step(start, start + 2.2, z + 0.25 * broad)
    height = rise * (0.55 * ridges + cones * (0.55 + 0.75 * ridges))
    plain = 0.05 * broad + 0.012 * fine
    if lake:
        shore = z + 0.30 * broad
        return height + plain * 0.5 - 0.25 * step(0.6, -0.6, (shore - start) / 1.0) + 0.06
    height += step(0.4, 0.9, z) * (plain + 0.10 * step(1.0, 2.5, z) * broad)
    return height


def _dunes(
    rng: np.random.Generator, place: tuple[Array, Array], broad: Array, side: Array, far: Array
) -> Array:
    """Return crests: a slow rise and a sharp lee slope across a wandering wind."""
    x, z = place
    first = float(rng.uniform(0.35, 1.1)) * (1 if rng.random() < 0.5 else -1)
    total = np.zeros_like(broad)
    for length, tall, turn in ((1.5, 0.42, first), (0.75, 0.13, first * 0.6)):
        cos, sin = exact.direction(turn)
        phase = (z * cos + x * sin) / length + 0.34 * broad + 0.10 * side
        t = (phase + float(rng.random())) % 1.0
        crest = np.where(t < 0.68, t / 0.68, (1 - t) / 0.32)
        crest = crest * crest * (3 - 2 * crest) * 0.45 + crest * 0.55
        near = 1.0 if length > 1 else step(5.0, 2.5, z)
        total += near * tall * crest * (0.65 + 0.35 * exact.tanh(far + 0.4))
    total *= 0.55 + 0.45 * step(0.8, 3.0, z)
    total *= 1 - 0.5 * step(5.0, 8.0, z)
    total += 0.14 * step(4, 8, z) * (far + 1)
    return total.astype(np.float32)


_GRASS: dict[Time, tuple[float, float, float]] = {
    Time.SUNRISE: (0.48, 0.56, 0.30),
    Time.DAY: (0.40, 0.54, 0.25),
    Time.SUNSET: (0.46, 0.53, 0.30),
    Time.NIGHT: (0.30, 0.42, 0.34),
}


def _shade(
    view: View,
    depths: Array,
    height: Array,
    slopes: tuple[Array, Array, Array],
    mottle: Array,
) -> Array:
    scene, light, rng = view.scene, view.light, view.rng
    slope_x, slope_z, flat = slopes
    hue = rng.normal(0, 0.035, 3).astype(np.float32)
    grass = colour(*_GRASS[scene.time]) + hue
    m = mottle[..., None]
    if scene.terrain is Terrain.DESERT:
        albedo = mix(colour(0.87, 0.69, 0.45), colour(0.84, 0.59, 0.38), float(rng.random()))
        albedo = (albedo + 0.5 * hue) * (1 + 0.025 * m)
        if scene.time is Time.NIGHT:
            albedo = albedo * colour(0.66, 0.80, 1.02)
        relief = 1.9
    elif scene.terrain is Terrain.HILLS:
        meadow = mix(grass * 0.80, grass * 1.08 + colour(0.10, 0.06, -0.02), step(-1.2, 1.2, m))
        meadow = mix(meadow, grass * colour(0.72, 0.86, 0.62), 0.6 * step(0.3, 1.1, -m))
        far = step(3.5, 7.0, depths)[:, None, None]
        albedo = mix(meadow, colour(0.36, 0.46, 0.42), 0.8 * far)
        relief = 2.2
    else:
        albedo = _alpine(view, grass, height, flat, mottle, hue=hue)
        relief = 1.25
    across, along = slope_x * relief, slope_z * relief
    length = np.sqrt(1 + across**2 + along**2)
    toward = light.direction
    lambert = (-across * toward[0] + toward[1] - along * toward[2]) / length
    lit = clip(lambert, 0, 1)
    power = {Time.SUNRISE: 1.15, Time.SUNSET: 1.35}.get(scene.time, 1.0)
    sky_part = 0.55 + 0.45 * flat
    lamp = light.ambient * sky_part[..., None] + light.direct * (power * lit)[..., None]
    result: Array = albedo * lamp * (1.35 if scene.time is Time.NIGHT else 1.0)
    return result


def _alpine(
    view: View, grass: Array, height: Array, flat: Array, mottle: Array, *, hue: Array
) -> Array:
    scene, rng = view.scene, view.rng
    m = mottle[..., None]
    rock = mix(colour(0.50, 0.47, 0.47), colour(0.60, 0.50, 0.42), float(rng.random())) + hue
    rock = rock * (1 + 0.09 * m)
    wood = mix(grass * 0.50, grass * 0.72, step(-1.0, 1.0, m))
    meadow = mix(grass * 0.85, grass * 1.10, step(-1.0, 1.0, m))
    tree_line = float(rng.uniform(0.38, 0.62))
    up = step(tree_line - 0.16, tree_line + 0.16, height + 0.07 * mottle)
    low = step(0.06, 0.20, height + 0.03 * mottle)
    albedo = mix(mix(meadow, wood, low[..., None]), rock, up[..., None])
    steep = step(0.62, 0.48, flat) * step(0.15, 0.4, height)
    albedo = mix(albedo, rock * 0.95, (0.8 * steep)[..., None])
    if Extra.SNOW in scene.extras:
        line = float(rng.uniform(0.50, 0.78))
        snow = step(line - 0.10, line + 0.16, height + 0.09 * mottle + 0.30 * (flat - 0.6))
        albedo = mix(albedo, colour(1.02, 1.05, 1.12), snow[..., None])
    return albedo


def _haze(view: View, tint: Array, depths: Array, height: Array, columns: Array) -> Array:
    """Mix in air: more with distance, mist near the plain, warm towards the sun."""
    scene, light, frame = view.scene, view.light, view.frame
    away = np.maximum(depths - 1.2, 0)[:, None]
    air = 1 - exact.exp(-light.fog_density * away * 0.85)
    mist = {Time.SUNRISE: 0.55, Time.DAY: 0.12, Time.SUNSET: 0.30, Time.NIGHT: 0.25}[scene.time]
    if scene.terrain is Terrain.DESERT:
        mist *= 0.4
    low = mist * exact.exp(-5.5 * np.maximum(height, 0)) * step(1.6, 4.5, away)
    share = clip(air + low * (1 - air), 0, 0.93)
    toward = columns / frame.width + 0.5 - light.sun_u
    glow = 0.65 * exact.exp(-((toward / 0.28) ** 2)) * (1.0 if light.sun_visible else 0.25)
    if scene.time in {Time.DAY, Time.NIGHT}:
        glow = glow * 0.25
    air_colour = mix(light.fog, light.horizon, glow[:, None])[None]
    return mix(tint, air_colour, share[..., None])


def _rasterise(tint: Array, top: Array, frame: Frame) -> tuple[Array, Array]:
    """Look up each fine row's place on the walk and average down.

    Args:
        tint: (D, W, 3).
        top: (D, W), falling along D: the highest row reached so far, in pixels.
        frame: the picture's size.

    """
    count, width = top.shape
    column = np.arange(width, dtype=np.int32)[None, :]
    flat_tint = tint.reshape(-1, 3)
    image = np.zeros((frame.height, width, 3), np.float32)
    cover = np.zeros((frame.height, width), np.float32)
    for part in range(_FINE):
        # Each of the rows looks a third of a column further, so that steep edges are smooth too.
        shift = (part + 0.5) / _FINE - 0.5
        beside = np.roll(top, -1 if shift > 0 else 1, axis=1)
        beside[:, -1 if shift > 0 else 0] = top[:, -1 if shift > 0 else 0]
        edge = mix(top, beside, abs(shift)) if shift else top
        row = np.arange(frame.height, dtype=np.float32)[:, None] + (part + 0.5) / _FINE
        first = clip(np.ceil(edge - (part + 0.5) / _FINE), 0, frame.height).astype(np.int32)
        tally = np.bincount((first * width + column).ravel(), minlength=(frame.height + 1) * width)
        reached = np.cumsum(tally.reshape(-1, width)[: frame.height], axis=0, dtype=np.int32)
        far = count - reached  # the first place at or above; `count` where sky
        land = (far < count).astype(np.float32)
        far_index = np.minimum(far, count - 1) * width + column
        near_index = np.maximum(far_index - width, column)
        flat_edge = edge.reshape(-1)
        row_near, row_far = flat_edge[near_index], flat_edge[far_index]
        rise = np.maximum(row_near - row_far, np.float32(1e-3))
        share = clip((row_near - row) / rise, 0, 1).astype(np.float32) * land
        image += np.take(flat_tint, near_index, axis=0) * (land - share)[..., None]
        image += np.take(flat_tint, far_index, axis=0) * share[..., None]
        cover += land
    image /= np.maximum(cover, 1e-3)[..., None]
    return image, cover / _FINE
