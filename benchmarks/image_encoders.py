"""Time and size of image encoders: ours, Pillow's, and others where they are installed.

    .venv/bin/python benchmarks/image_encoders.py [--size PX] [--json FILE]

One thread, pixels already in memory (H, W, 3), no metadata but Leyden's own. The encoders take
turns in each round, so that a disturbance of the machine hits them alike; the median of all
rounds is reported. Two pictures: `smooth` is a picture of the embedded model enlarged, `noisy`
the same with noise at all scales and grain, as photographs have. Further contestants for PNG:

    .venv/bin/pip install fpng opencv-python-headless zlib-ng deflate imagecodecs
"""

import argparse
import importlib
import io
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from leyden_server.vae.image_file import encode_image

Pixels = NDArray[np.uint8]
Encode = Callable[[Pixels], bytes]

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "embedded-model.png"
OTHERS = ("fpng", "cv2", "zlib_ng", "deflate", "imagecodecs")
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "zlib_ng": "zlib-ng", "PIL": "pillow"}
PARAMETERS: dict[str, object] = {"prompt": "a mountain lake at sunrise", "seed": 1}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="side in pixels (default: 1024)")
    parser.add_argument("--rounds", type=int, default=15, help="(default: 15)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    found = [name for name in OTHERS if find_spec(name)]
    encoders = {**_ours(), **_pillows(), **_others(found)}
    figures: dict[str, Any] = {"conditions": _conditions(arguments, found)}
    for name, pixels in _pictures(arguments.size).items():
        figures[name] = _measure(name, encoders, pixels, arguments.rounds)
        print(f"\n{name}, {arguments.size} x {arguments.size}")
        for encoder, values in figures[name].items():
            print(
                f"  {encoder:<28} {values['median_ms']:8.1f} ms  {values['size_kb']:8.0f} kB  "
                + ("lossless" if values["lossless"] else f"{values['psnr_db']:.1f} dB")
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _ours() -> dict[str, Encode]:
    return {
        f"leyden {name}": partial(
            encode_image, image_format=name, quality=90, parameters=PARAMETERS
        )
        for name in ("PNG", "JPEG", "WEBP")
    }


def _pillows() -> dict[str, Encode]:
    def pillow(image_format: str, **options: int) -> Encode:
        def encode(pixels: Pixels) -> bytes:
            data = io.BytesIO()
            Image.fromarray(pixels, "RGB").save(data, image_format, **options)
            return data.getvalue()

        return encode

    return {
        "Pillow PNG level 6": pillow("PNG"),
        "Pillow PNG level 1": pillow("PNG", compress_level=1),
        "Pillow JPEG": pillow("JPEG", quality=90),
        **{f"Pillow WEBP method {m}": pillow("WEBP", quality=90, method=m) for m in (0, 2, 4, 6)},
    }


def _others(found: list[str]) -> dict[str, Encode]:
    def with_zlib(compress: Callable[[bytes], bytes]) -> Encode:
        """Time a compressor alone, on rows filtered as ours are; not a PNG file."""

        def encode(pixels: Pixels) -> bytes:
            rows = pixels.reshape(len(pixels), -1).copy()
            np.subtract(rows[1:], rows[:-1].copy(), out=rows[1:])
            return compress(rows.tobytes())

        return encode

    encoders: dict[str, Encode] = {
        f"isal level {level}, Up, no file": with_zlib(partial(isal_zlib.compress, level=level))
        for level in (0, 1, 2, 3)
    }
    modules: dict[str, Any] = {name: importlib.import_module(name) for name in found}
    if "fpng" in modules:
        encoders["fpng PNG"] = lambda pixels: bytes(modules["fpng"].from_ndarray(pixels))
    if "cv2" in modules:
        cv2 = modules["cv2"]
        cv2.setNumThreads(1)
        encoders["OpenCV PNG"] = lambda pixels: bytes(
            cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
        )
    if "zlib_ng" in modules:
        zlib_ng = importlib.import_module("zlib_ng.zlib_ng")
        for level in (1, 2):
            encoders[f"zlib-ng level {level}, Up, no file"] = with_zlib(
                partial(zlib_ng.compress, level=level)
            )
    if "deflate" in modules:
        encoders["libdeflate level 1, Up, no file"] = with_zlib(
            lambda rows: bytes(modules["deflate"].zlib_compress(rows, 1))
        )
    if "imagecodecs" in modules:
        encode = modules["imagecodecs"].png_encode
        encoders["imagecodecs PNG, Up, level 1"] = lambda pixels: encode(pixels, level=1, filter=32)
    return encoders


def _measure(
    name: str, encoders: dict[str, Encode], pixels: Pixels, rounds: int
) -> dict[str, dict[str, float | bool]]:
    times: dict[str, list[float]] = {encoder: [] for encoder in encoders}
    files = {encoder: encode(pixels) for encoder, encode in encoders.items()}
    for round_number in range(rounds):
        print(f"\r{name}: round {round_number + 1} of {rounds}", end="", file=sys.stderr)
        for encoder, encode in encoders.items():
            start = time.perf_counter()
            encode(pixels)
            times[encoder].append(time.perf_counter() - start)
    print(file=sys.stderr)
    return {
        encoder: {
            "median_ms": round(1000 * statistics.median(times[encoder]), 2),
            "min_ms": round(1000 * min(times[encoder]), 2),
            "size_kb": round(len(files[encoder]) / 1000, 1),
            **_likeness(encoder, files[encoder], pixels),
        }
        for encoder in encoders
    }


def _likeness(encoder: str, file: bytes, pixels: Pixels) -> dict[str, float | bool]:
    if "no file" in encoder:
        return {"lossless": True}
    decoded = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    mean_square = float(np.mean((decoded.astype(float) - pixels) ** 2))
    if mean_square == 0:
        return {"lossless": True}
    return {"lossless": False, "psnr_db": round(10 * np.log10(255**2 / mean_square), 2)}


def _pictures(size: int) -> dict[str, Pixels]:
    with Image.open(PICTURE) as strip:
        side = strip.height
        first = strip.convert("RGB").crop((0, 0, side, side))
    smooth = np.asarray(first.resize((size, size), Image.Resampling.BICUBIC))
    rng = np.random.default_rng(0)
    light = 28 * noise_at_all_scales(rng, size)[..., None]
    colour = 6 * np.stack([noise_at_all_scales(rng, size) for _ in range(3)], axis=-1)
    grain = 1.5 * rng.standard_normal(smooth.shape)
    noisy = (20 + 0.7 * smooth + light + colour + grain).clip(0, 255).round().astype(np.uint8)
    return {"smooth": smooth, "noisy": noisy}


def noise_at_all_scales(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Return noise (size, size) of deviation 1 whose amplitude falls as frequency ** -1.2."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**1.2
    noise: NDArray[np.float64] = np.fft.irfft2(spectrum, (size, size))
    noise /= noise.std()
    return noise


def _conditions(arguments: argparse.Namespace, found: list[str]) -> dict[str, object]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the start",
        "pictures": f"{arguments.size} x {arguments.size} px, RGB; JPEG and WebP at quality 90",
        "rounds": f"{arguments.rounds}, the encoders in turns, one thread, median",
        "versions": {
            name: version(DISTRIBUTIONS.get(name, name))
            for name in ("PIL", "isal", "numpy", *found)
        },
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
