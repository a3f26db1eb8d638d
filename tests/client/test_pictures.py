"""Pictures without Pillow: read, scaled and drawn as Pillow has them."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.sixel_decoder import decode_sixels

from leyden_cli.terminal.picture import Picture, PictureError
from leyden_cli.terminal.sixel import sixels
from leyden_server.vae.png import encode_png

RNG = np.random.default_rng(5)
Y, X = np.mgrid[0:37, 0:53]
SMOOTH = np.stack([4 * X, 6 * Y, 255 - 2 * X - 3 * Y], axis=-1).clip(0, 255).astype(np.uint8)
NOISY = RNG.integers(0, 256, SMOOTH.shape, dtype=np.uint8)


def pillow_png(pixels: NDArray[np.uint8]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def pixels_of(picture: Picture) -> NDArray[np.uint8]:
    flat = np.frombuffer(b"".join(picture.rows), dtype=np.uint8)
    return flat.reshape(picture.height_px, picture.width_px, 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered_png(pixels: NDArray[np.uint8], kind: int) -> bytes:
    """A PNG whose rows all have one filter, by the specification's formulas."""
    height, width, _ = pixels.shape
    whole = np.zeros((height + 1, width + 1, 3), dtype=int)
    whole[1:, 1:] = pixels
    left, up, corner = whole[1:, :-1], whole[:-1, 1:], whole[:-1, :-1]
    estimate = left + up - corner
    distances = [abs(estimate - a) for a in (left, up, corner)]
    paeth = np.choose(np.argmin(distances, axis=0), [left, up, corner])
    guess = [np.zeros_like(left), left, up, (left + up) // 2, paeth][kind]
    rows = ((pixels - guess) % 256).astype(np.uint8).reshape(height, -1)
    data = b"".join(bytes([kind]) + row.tobytes() for row in rows)
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data)[:40])
        + chunk(b"IDAT", zlib.compress(data)[40:])
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("pixels", [SMOOTH, NOISY, NOISY[:1, :1]], ids=["smooth", "noisy", "one"])
def test_pngs_of_pillow_and_of_the_server_are_read(pixels: NDArray[np.uint8]) -> None:
    for data in (pillow_png(pixels), encode_png(pixels, {"leyden": "{}"})):
        assert np.array_equal(pixels_of(Picture.from_png(data)), pixels)


@pytest.mark.parametrize("kind", range(5))
def test_every_filter_is_undone(kind: int) -> None:
    for pixels in (SMOOTH, NOISY):
        data = filtered_png(pixels, kind)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
        assert np.array_equal(pixels_of(Picture.from_png(data)), pixels)


def test_what_is_written_is_what_was_read() -> None:
    data = Picture.from_png(pillow_png(NOISY)).to_png()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), NOISY)


def test_other_pictures_are_refused() -> None:
    grey = io.BytesIO()
    Image.fromarray(SMOOTH[..., 0]).save(grey, "PNG")
    end = chunk(b"IEND", b"")
    huge = chunk(b"IHDR", struct.pack(">II5B", 2**16, 2**16, 8, 2, 0, 0, 0))
    signature = b"\x89PNG\r\n\x1a\n"
    for data in (b"", b"\xff\xd8\xff", grey.getvalue(), signature + huge + end, signature + end):
        with pytest.raises(PictureError):
            Picture.from_png(data)


def test_damage_is_noticed_wherever_it_is() -> None:
    whole = pillow_png(SMOOTH)
    for position in range(0, len(whole), 7):
        with pytest.raises(PictureError):
            Picture.from_png(whole[:position])
        broken = bytearray(whole)
        broken[position] ^= 0x55
        with pytest.raises(PictureError):
            Picture.from_png(bytes(broken))


@pytest.mark.parametrize("size", [(53, 37), (106, 74), (20, 11), (1, 1), (200, 5)])
def test_scaling_keeps_what_is_where(size: tuple[int, int]) -> None:
    scaled = pixels_of(Picture.from_png(pillow_png(SMOOTH)).scaled(*size))
    expected = np.asarray(Image.fromarray(SMOOTH).resize(size, Image.Resampling.BOX))
    assert scaled.shape == (size[1], size[0], 3)
    assert np.abs(scaled.astype(int) - expected).mean() < 4
    assert np.abs(scaled.astype(int) - expected).max() < 20


def test_sixels_are_the_picture_within_what_256_colours_allow() -> None:
    for pixels in (SMOOTH, NOISY):
        decoded = decode_sixels(sixels(Picture.from_png(pillow_png(pixels)))[2:-2])
        assert decoded.shape == pixels.shape
        # No pixel is further off than one level; dithering makes up for it in the mean.
        assert np.abs(decoded.astype(int) - pixels).max() <= 52
        assert abs(decoded.mean(axis=(0, 1)) - pixels.mean(axis=(0, 1))).max() < 2


def test_sixels_of_a_flat_colour_are_short() -> None:
    flat = np.full((60, 200, 3), 255, dtype=np.uint8)
    text = sixels(Picture.from_png(pillow_png(flat)))
    body = text.split("#251;2;100;100;100", 1)[1]
    assert body == "-".join(["#251!200~"] * 10) + "\x1b\\"
