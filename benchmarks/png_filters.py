"""What each filter and each compression of a PNG's rows costs, in bytes and in milliseconds.

    .venv/bin/python benchmarks/png_filters.py [--rounds N] [--json FILE]

Four pictures in memory, (H, W, 3) uint8: one of an embedded model as it is, the same enlarged, a
gradient with light, colour and grain as photographs have them, and pure noise. Every filter with
every compression takes its turn in each round; the time is the thread's own (`time.thread_time`),
so that others on the machine do not count, and the median of all rounds. `product` is bytes x ms by
those of the server's choice: below 1 a pair is better.

Source of the filters: https://www.w3.org/TR/png-3/#9Filters.
"""

import argparse
import json
import platform
import statistics
import time
import zlib
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from image_encoders import PICTURE, Pixels, noise_at_all_scales
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

Rows = NDArray[np.uint8]
"""(H, 1 + 3 W): each row's filter, then its bytes."""

CHOICE = ("Up", "ISA-L 1")
"""What `leyden_server.vae.png` does."""
SIDE_PX = 1024
BYTES_PER_PIXEL = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="(default: 7)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, object] = {"conditions": _conditions(arguments.rounds)}
    for name, pixels in _pictures().items():
        found = _measured(pixels, arguments.rounds)
        figures[name] = found
        height, width, _ = pixels.shape
        print(f"\n{name}, {width} x {height}: filter, compression, ms, kB, product")
        for pair, values in found.items():
            print(
                f"  {pair:<26} {values['ms']:8.2f} {values['bytes'] / 1000:9.1f} "
                f"{values['product']:6.2f}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _measured(pixels: Pixels, rounds: int) -> dict[str, dict[str, float]]:
    pairs = [(one, other) for one in FILTERS for other in COMPRESSIONS]
    times: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    sizes: dict[tuple[str, str], int] = {}
    for _ in range(rounds):
        for pair in pairs:
            started_s = time.thread_time()
            rows = FILTERS[pair[0]](pixels)
            compressed = COMPRESSIONS[pair[1]](rows)
            times[pair].append(1000 * (time.thread_time() - started_s))
            if pair not in sizes:
                assert zlib.decompress(compressed) == rows.tobytes()
                sizes[pair] = len(compressed)
    medians = {pair: statistics.median(times[pair]) for pair in pairs}
    chosen = medians[CHOICE] * sizes[CHOICE]
    return {
        ", ".join(pair): {
            "ms": round(medians[pair], 2),
            "least_ms": round(min(times[pair]), 2),
            "bytes": sizes[pair],
            "product": round(medians[pair] * sizes[pair] / chosen, 3),
        }
        for pair in pairs
    }


def _none(rows: Rows, filtered: Rows) -> int:
    filtered[:] = rows
    return 0


def _sub(rows: Rows, filtered: Rows) -> int:
    filtered[:, :BYTES_PER_PIXEL] = rows[:, :BYTES_PER_PIXEL]
    np.subtract(
        rows[:, BYTES_PER_PIXEL:], rows[:, :-BYTES_PER_PIXEL], out=filtered[:, BYTES_PER_PIXEL:]
    )
    return 1


def _up(rows: Rows, filtered: Rows) -> int:
    filtered[0] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:])
    return 2


def _average(rows: Rows, filtered: Rows) -> int:
    left, above, _ = _neighbours(rows)
    # Without a wider type: half of a sum is what both share and half of what they do not.
    np.subtract(rows, (left & above) + ((left ^ above) >> 1), out=filtered)
    return 3


def _paeth(rows: Rows, filtered: Rows) -> int:
    left, above, corner = (one.astype(np.int16) for one in _neighbours(rows))
    to_left, to_above = np.abs(above - corner), np.abs(left - corner)
    to_corner = np.abs(left + above - 2 * corner)
    nearest = np.where(
        (to_left <= to_above) & (to_left <= to_corner),
        left,
        np.where(to_above <= to_corner, above, corner),
    )
    np.subtract(rows, nearest.astype(np.uint8), out=filtered)
    return 4


def _neighbours(rows: Rows) -> tuple[Rows, Rows, Rows]:
    """Return the bytes of the pixel to the left, above, and above the left one; 0 outside."""
    left, above, corner = np.zeros_like(rows), np.zeros_like(rows), np.zeros_like(rows)
    left[:, BYTES_PER_PIXEL:] = rows[:, :-BYTES_PER_PIXEL]
    above[1:] = rows[:-1]
    corner[1:, BYTES_PER_PIXEL:] = rows[:-1, :-BYTES_PER_PIXEL]
    return left, above, corner


def _filtered(by: Callable[[Rows, Rows], int], pixels: Pixels) -> Rows:
    height, width, _ = pixels.shape
    result = np.empty((height, 1 + BYTES_PER_PIXEL * width), dtype=np.uint8)
    result[:, 0] = by(pixels.reshape(height, -1), result[:, 1:])
    return result


def _sub_or_up(pixels: Pixels) -> Rows:
    """Filter each row by that of both whose bytes, with signs, are nearer to 0: libpng's way."""
    sub, up = _filtered(_sub, pixels), _filtered(_up, pixels)
    distance = [np.abs(one[:, 1:].view(np.int8).astype(np.int16)).sum(1) for one in (sub, up)]
    return np.where((distance[0] < distance[1])[:, None], sub, up)


def _by_zlib(rows: Rows, *, level: int, strategy: int) -> bytes:
    compress = zlib.compressobj(level, strategy=strategy)
    return compress.compress(rows) + compress.flush()


FILTERS: dict[str, Callable[[Pixels], Rows]] = {
    "None": partial(_filtered, _none),
    "Sub": partial(_filtered, _sub),
    "Up": partial(_filtered, _up),
    "Average": partial(_filtered, _average),
    "Paeth": partial(_filtered, _paeth),
    "Sub or Up": _sub_or_up,
}
COMPRESSIONS: dict[str, Callable[[Rows], bytes]] = {
    **{f"ISA-L {level}": partial(isal_zlib.compress, level=level) for level in range(4)},
    "zlib 1": partial(_by_zlib, level=1, strategy=zlib.Z_DEFAULT_STRATEGY),
    "zlib Huffman": partial(_by_zlib, level=1, strategy=zlib.Z_HUFFMAN_ONLY),
    "stored": partial(_by_zlib, level=0, strategy=zlib.Z_DEFAULT_STRATEGY),
}


def _pictures() -> dict[str, Pixels]:
    with Image.open(PICTURE) as strip:
        first = strip.convert("RGB").crop((0, 0, strip.height, strip.height))
    enlarged = first.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    rng = np.random.default_rng(0)
    slope = np.linspace(40, 200, SIDE_PX)
    gradient = (slope[:, None, None] + slope[None, :, None]) / 2
    light = 28 * noise_at_all_scales(rng, SIDE_PX)[..., None]
    colour = 6 * np.stack([noise_at_all_scales(rng, SIDE_PX) for _ in range(3)], axis=-1)
    grain = 1.5 * rng.standard_normal((SIDE_PX, SIDE_PX, 3))
    photograph = (gradient + light + colour + grain).clip(0, 255).round().astype(np.uint8)
    noise = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return {
        "embedded model": np.asarray(first),
        "enlarged": np.asarray(enlarged),
        "like a photograph": photograph,
        "noise": noise,
    }


def _conditions(rounds: int) -> dict[str, object]:
    return {
        "machine": f"{platform.machine()}, one thread, its own time",
        "rounds": f"{rounds}, the pairs in turns, median",
        "versions": {name: version(name) for name in ("isal", "numpy")}
        | {"zlib": zlib.ZLIB_RUNTIME_VERSION},
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
