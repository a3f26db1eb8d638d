"""The digest of a few pictures of every kind; run as a script, it prints it.

A process of its own starts with the threads and the CPU features that its environment says.
"""

import hashlib
import itertools

from leyden_training.data.render import render
from leyden_training.data.scene import EXTRAS, SKIES, Scene, Style, Terrain, Time


def rendered_digest() -> str:
    """Return the SHA-256 of 28 pictures: each terrain at each time, all skies, extras, styles."""
    digest, styles = hashlib.sha256(), tuple(Style)
    for seed, (time, terrain) in enumerate(itertools.product(Time, Terrain)):
        skies = tuple(SKIES[time])
        sky, style = skies[seed % len(skies)], styles[seed % len(styles)]
        scene = Scene(time, terrain, sky, frozenset(EXTRAS[terrain]), style)
        digest.update(render(scene, width_px=96, height_px=80, seed=seed).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(rendered_digest())
