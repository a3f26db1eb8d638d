"""PNG, JPEG and WebP that carry what made them."""

import io
import json
import struct
import threading
import time
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.image_parameters import parameters_of

from leyden_server.stages.contract import PIXELS
from leyden_server.vae.image_file import encode_image

PARAMETERS: dict[str, object] = {
    "model": "sdxl",
    "prompt": 'a café in 京都, 100 % "real"\n🎨',
    "negative_prompt": "",
    "seed": 2**53 - 1,
    "guidance_scale": 7.5,
}


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """A smooth picture, 40 high and 56 wide."""
    y, x = np.mgrid[0:40, 0:56]
    return np.stack([4 * x, 6 * y, 128 + 2 * x - 2 * y], axis=-1).clip(0, 255).astype(np.uint8)


def opened(data: bytes) -> Any:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_the_file_carries_its_parameters(pixels: NDArray[np.uint8], image_format: str) -> None:
    data = encode_image(pixels, image_format, 90, PARAMETERS)

    assert opened(data).format == image_format
    assert opened(data).size == (56, 40)
    quality = {} if image_format == "PNG" else {"output_quality": 90}
    assert parameters_of(data) == {**PARAMETERS, **quality}


def test_bare_pixels_are_their_bytes(pixels: NDArray[np.uint8]) -> None:
    data = encode_image(pixels, PIXELS, 90, PARAMETERS)

    assert np.array_equal(np.frombuffer(data, np.uint8).reshape(40, 56, 3), pixels)


def entries_of(tiff: bytes, offset: int) -> dict[int, tuple[int, int, int]]:
    """Return type, count and value or offset of the fields of an IFD, by their tags."""
    order = {b"MM": ">", b"II": "<"}[tiff[:2]]
    (count,) = struct.unpack_from(f"{order}H", tiff, offset)
    fields = struct.iter_unpack(f"{order}HHII", tiff[offset + 2 : offset + 2 + 12 * count])
    return {tag: (kind, number, value) for tag, kind, number, value in fields}


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("prompt", ["a lake", "\u9286\u0001 twice: \u9286\u0001"])
def test_the_user_comment_has_the_type_that_exif_gives_it(
    pixels: NDArray[np.uint8], image_format: str, prompt: str
) -> None:
    data = encode_image(pixels, image_format, 90, {**PARAMETERS, "prompt": prompt})
    tiff = opened(data).info["exif"].removeprefix(b"Exif\0\0")
    (start,) = struct.unpack_from({b"MM": ">I", b"II": "<I"}[tiff[:2]], tiff, 4)
    _, _, exif_ifd = entries_of(tiff, start)[0x8769]
    kind, count, offset = entries_of(tiff, exif_ifd)[0x9286]

    assert kind == 7  # UNDEFINED
    assert tiff[offset : offset + 8] == b"UNICODE\0"
    assert json.loads(tiff[offset + 8 : offset + count].decode("utf-16-be"))["prompt"] == prompt
    assert parameters_of(data)["prompt"] == prompt


@pytest.mark.parametrize("shape", [(40, 56, 3), (1, 1, 3), (1, 300, 3), (300, 1, 3), (128, 128, 3)])
def test_png_is_lossless(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    steps = (np.arange(noise.size).reshape(shape) // 7).astype(np.uint8)
    flat = np.full(shape, 255, dtype=np.uint8)
    # As a VAE leaves them: channels first in memory.
    channels_first = np.ascontiguousarray(noise.transpose(2, 0, 1)).transpose(1, 2, 0)
    for picture in (noise, steps, flat, channels_first, noise[::-1]):
        data = encode_image(picture, "PNG", 1, PARAMETERS)
        assert np.array_equal(np.asarray(opened(data)), picture)
        assert opened(data).mode == "RGB"


def test_every_chunk_of_a_png_has_its_checksum(pixels: NDArray[np.uint8]) -> None:
    data = encode_image(pixels, "PNG", 1, PARAMETERS)
    kinds, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, end = data[position + 4 : position + 8], position + 8 + length
        assert struct.unpack_from(">I", data, end) == (zlib.crc32(data[position + 4 : end]),)
        kinds.append(kind)
        position = end + 4
    assert kinds == [b"IHDR", b"iTXt", b"iTXt", b"IDAT", b"IEND"]
    assert opened(data).text["Software"] == "Leyden"


def test_a_png_of_a_smooth_picture_is_smaller_than_its_pixels() -> None:
    y, x = np.mgrid[0:256, 0:256]
    smooth = np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8)

    assert len(encode_image(smooth, "PNG", 1, PARAMETERS)) < smooth.nbytes / 10


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (0, 8, 3)])
def test_what_is_not_rgb_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        encode_image(np.zeros(shape, dtype=np.uint8), "PNG", 1, PARAMETERS)


def test_encoding_a_png_lets_other_threads_run() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3072, 3072, 3), dtype=np.uint8)
    moments: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            moments.append(time.perf_counter())
            done.wait(0.001)

    other = threading.Thread(target=tick)
    other.start()
    start = time.perf_counter()
    encode_image(noise, "PNG", 1, PARAMETERS)
    took = time.perf_counter() - start
    done.set()
    other.join()
    # With the lock held there would be none between the first and the last moment.
    assert len([moment for moment in moments if start < moment < start + took]) >= 5


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_quality_trades_bytes_for_likeness(pixels: NDArray[np.uint8], image_format: str) -> None:
    noise = np.random.default_rng(0).integers(-20, 20, pixels.shape)
    picture = (pixels + noise).clip(0, 255).astype(np.uint8)
    files = [encode_image(picture, image_format, quality, PARAMETERS) for quality in (1, 50, 100)]
    errors = [np.abs(np.asarray(opened(file)).astype(int) - picture).mean() for file in files]

    assert len(files[0]) < len(files[1]) < len(files[2])
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_the_longest_default_prompts_fit(pixels: NDArray[np.uint8], image_format: str) -> None:
    longest: dict[str, object] = {"prompt": "🎨" * 4096, "negative_prompt": "京" * 4096}

    parameters = parameters_of(encode_image(pixels, image_format, 90, longest))
    assert {name: parameters[name] for name in longest} == longest
