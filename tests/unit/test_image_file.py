"""PNG, JPEG and WebP that carry what made them."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.image_parameters import parameters_of

from leyden_server.image_decoder.image_file import encode_image

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
    assert parameters_of(data) == PARAMETERS


def test_png_is_lossless(pixels: NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    for picture in (pixels, noise):
        assert np.array_equal(
            np.asarray(opened(encode_image(picture, "PNG", 1, PARAMETERS))), picture
        )


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

    assert parameters_of(encode_image(pixels, image_format, 90, longest)) == longest
