"""What stands in the land: trees, a cabin, a sailboat."""

from __future__ import annotations

import numpy as np

from leyden_training.data import exact
from leyden_training.data.brush import Point, Tints, ball, conifer, glow, polygon
from leyden_training.data.light import Light, View
from leyden_training.data.noise import Array, clip, colour, mix
from leyden_training.data.scene import Terrain, Time
from leyden_training.data.terrain import Ground

_LAMP = colour(1.0, 0.80, 0.40)


def side_of(light: Light) -> float:
    """Return 1 when the light comes from the right, -1 from the left."""
    return 1.0 if light.direction[0] > 0 else -1.0


def tree_tints(view: View, haze: float, autumn: float = 0.0) -> Tints:
    """Return the shaded and the lit colour of leaves behind `haze` (0 to 1) of air."""
    scene, light = view.scene, view.light
    leaf = mix(colour(0.24, 0.40, 0.22), colour(0.72, 0.40, 0.14), autumn)
    dark = leaf * (light.ambient * 0.75)
    lit = leaf * (light.ambient * 0.9 + light.direct * 0.95)
    if scene.time is Time.NIGHT:
        dark, lit = dark * 1.2, lit * 1.2
    return mix(dark, light.fog, haze), mix(lit, light.fog, haze)


def paint_trees(
    image: Array, ground: Ground, view: View, keep_clear: tuple[float, float] | None
) -> None:
    """Plant trees on level land that is seen, far ones first; none within `keep_clear` (x0, x1)."""
    scene, light, frame, rng = view
    alpine = scene.terrain in {Terrain.MOUNTAINS, Terrain.LAKE}
    level = ground.flat > (0.80 if alpine else 0.86)
    low, high = (0.015, 0.42) if alpine else (-0.9, 0.75)
    place = ground.seen & level & (ground.heights > low) & (ground.heights < high)
    place &= (ground.rows < frame.height * 1.06) & (ground.depths[:, None] < 6.2)
    weight = exact.exp(-0.4 * exact.log(ground.depths))[:, None] * place
    if not weight.any():
        return
    chances = (weight / weight.sum()).ravel()
    count = int(rng.integers(50, 110)) if alpine else int(rng.integers(18, 46))
    count = round(count * frame.width / frame.height)
    picks = np.sort(rng.choice(chances.size, count, p=chances))[::-1]
    tall_at_one = 0.30 if alpine else 0.26
    airs = 1 - exact.exp(-light.fog_density * np.maximum(ground.depths - 1.2, 0) * 0.85)
    for pick in picks:
        row, column = divmod(int(pick), frame.width)
        depth = float(ground.depths[row])
        x, base = column + 0.5, float(ground.rows[row, column]) + 1.0
        if keep_clear and keep_clear[0] < x < keep_clear[1] and depth < 3.2:
            continue
        tall = ground.focal * tall_at_one / depth * float(rng.uniform(0.7, 1.25))
        if tall < 4 * frame.scale:
            continue
        air = float(airs[row])
        if alpine:
            conifer(image, (x, base), tall, tree_tints(view, air), side_of(light))
        else:
            tints = tree_tints(view, air, 0.8 if rng.random() < 0.12 else 0.0)
            _leafy(image, (x, base), tall * 0.8, tints, view)


def _leafy(image: Array, foot: Point, tall: float, tints: Tints, view: View) -> None:
    """Draw a round tree: a trunk and five balls of leaves."""
    (x, base), side = foot, side_of(view.light)
    thick = max(0.7, tall * 0.045)
    bark = mix(tints[0], colour(0.25, 0.18, 0.14), 0.4)
    left, right, half = x - thick, x + thick, base - tall / 2
    polygon(image, [(left, base), (right, base), (right, half), (left, half)], bark)
    for dx, dy, size in (
        (-0.22, 0.50, 0.22),
        (0.22, 0.50, 0.22),
        (0, 0.48, 0.26),
        (-0.08, 0.72, 0.23),
        (0.11, 0.70, 0.20),
    ):
        along, up = view.rng.uniform(-0.04, 0.04, 2)
        centre = (x + (dx + along) * tall, base - (dy + up) * tall)
        ball(image, centre, size * tall, tints, side)


def paint_cabin(image: Array, x: float, base: float, size: float, view: View) -> None:
    """Draw a log cabin, `size` pixels wide, whose front's lower middle is at (x, base)."""
    scene, light, rng = view.scene, view.light, view.rng
    side = side_of(light)
    bright, dim = light.ambient + 0.75 * light.direct, light.ambient * 0.95
    if scene.time is Time.NIGHT:
        bright, dim = bright * 1.25, dim * 1.25
    wood = mix(colour(0.56, 0.36, 0.22), colour(0.46, 0.30, 0.22), float(rng.random()))
    roof = mix(colour(0.42, 0.20, 0.17), colour(0.30, 0.30, 0.34), float(rng.random()))
    turn = 1.0 if rng.random() < 0.5 else -1.0  # the gable's side
    gable_bright, wall_bright = (bright, dim) if turn * side < 0 else (dim, bright)

    def at(px: float, py: float) -> Point:
        return (x + turn * px * size, base - py * size)

    wall, ridge = 0.34, 0.64
    chimney = [at(0.30, 0.45), at(0.38, 0.45), at(0.38, 0.78), at(0.30, 0.78)]
    polygon(image, chimney, colour(0.48, 0.42, 0.40) * dim)
    polygon(
        image,
        [at(-0.5, 0), at(-0.02, 0), at(-0.02, wall), at(-0.26, ridge), at(-0.5, wall)],
        wood * gable_bright,
    )
    polygon(
        image,
        [at(-0.02, 0), at(0.52, 0.02), at(0.52, wall), at(-0.02, wall)],
        wood * 0.92 * wall_bright,
    )
    for line in (0.085, 0.17, 0.255):
        polygon(
            image,
            [at(-0.5, line), at(0.52, line), at(0.52, line + 0.018), at(-0.5, line + 0.018)],
            wood * 0.55 * dim,
            0.6,
        )
    polygon(
        image,
        [
            at(-0.26, ridge + 0.03),
            at(0.34, ridge + 0.02),
            at(0.60, wall - 0.05),
            at(0.03, wall - 0.06),
        ],
        roof * bright,
    )
    polygon(
        image,
        [
            at(-0.26, ridge + 0.035),
            at(-0.26, ridge - 0.05),
            at(-0.58, wall - 0.09),
            at(-0.58, wall - 0.02),
        ],
        roof * 0.8 * dim,
    )
    polygon(
        image,
        [
            at(-0.26, ridge + 0.035),
            at(-0.26, ridge - 0.05),
            at(0.04, wall - 0.09),
            at(0.05, wall - 0.03),
        ],
        roof * 0.7 * dim,
    )
    shine = light.lamps
    pane = mix(colour(0.30, 0.36, 0.42) * (light.ambient + 0.5), _LAMP, max(shine, 0.25))
    frame = wood * 0.45 * dim
    for left, low, wide, tall in ((0.12, 0.11, 0.13, 0.14), (0.33, 0.11, 0.13, 0.14)):
        border = 0.022
        polygon(
            image,
            [
                at(left - border, low - border),
                at(left + wide + border, low - border),
                at(left + wide + border, low + tall + border),
                at(left - border, low + tall + border),
            ],
            frame,
        )
        polygon(
            image,
            [
                at(left, low),
                at(left + wide, low),
                at(left + wide, low + tall),
                at(left, low + tall),
            ],
            pane,
        )
    polygon(
        image, [at(-0.33, 0), at(-0.19, 0), at(-0.19, 0.25), at(-0.33, 0.25)], wood * 0.50 * dim
    )
    if shine > 0.3:
        spot = at(0.29, 0.18)
        glow(image, spot, 0.42 * size, _LAMP, 0.30 * shine)


def paint_sailboat(image: Array, x: float, base: float, size: float, view: View) -> None:
    """Draw a boat with two white sails, `size` pixels tall, and its mirror image below `base`."""
    scene, light, rng = view.scene, view.light, view.rng
    turn = 1.0 if rng.random() < 0.5 else -1.0
    lean = float(rng.uniform(-0.05, 0.08))
    power = light.ambient * 0.9 + light.direct * 0.75
    if scene.time is Time.NIGHT:
        power = power * 1.25 + 0.06
    sail = clip(colour(1.0, 0.98, 0.94) * power, 0, 1)
    jib = sail * 0.86
    paints = ((0.50, 0.22, 0.16), (0.16, 0.24, 0.40), (0.85, 0.85, 0.85), (0.35, 0.22, 0.14))
    hull = colour(*paints[int(rng.integers(len(paints)))]) * clip(power + 0.05, 0, 1)

    for mirrored in (True, False):
        sign = 0.75 if mirrored else -1.0
        alpha = 0.38 if mirrored else 1.0

        def at(px: float, py: float, sign: float = sign) -> tuple[float, float]:
            return (x + (turn * px + lean * py * 1.2) * size, base + sign * py * size)

        polygon(
            image,
            [at(0.015, 0.08), at(-0.015, 0.08), at(-0.008, 1.02), at(0.008, 1.02)],
            hull * 0.5,
            alpha,
        )
        polygon(
            image, [at(-0.03, 0.17), at(-0.37, 0.18), at(-0.20, 0.62), at(-0.02, 0.98)], sail, alpha
        )
        polygon(
            image, [at(0.035, 0.19), at(0.36, 0.16), at(0.17, 0.55), at(0.025, 0.88)], jib, alpha
        )
        polygon(
            image, [at(-0.42, 0.13), at(0.46, 0.13), at(0.30, 0.0), at(-0.33, 0.0)], hull, alpha
        )
        polygon(
            image,
            [at(-0.42, 0.13), at(0.46, 0.13), at(0.43, 0.10), at(-0.40, 0.10)],
            sail * 0.9,
            alpha,
        )
