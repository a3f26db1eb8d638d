"""Small RGB pictures, with the standard library alone: a client has neither Pillow nor NumPy.

Source: Portable Network Graphics (PNG) Specification, W3C, https://www.w3.org/TR/png-3/.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter
from typing import Self

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB_8_BIT = b"\x08\x02\0\0\0"
"""Bit depth 8, truecolour, the only compression and filter methods, not interlaced."""
_PIXEL_LIMIT = 2**26
"""An image of 8192 x 8192; no server that this client knows sends a larger one."""
_TAPS = 3
"""Pixels that are averaged in each direction where a picture is made smaller."""


class PictureError(ValueError):
    """The data are no PNG that can be shown: damaged, or not RGB with 8 bits."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels in rows from the top, each pixel three bytes: red, green, blue."""

    width_px: int
    height_px: int
    rows: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def from_png(cls, data: bytes) -> Self:
        """Read a PNG of the kind that Leyden's servers send; raises `PictureError`."""
        try:
            return cls._from_png(data)
        except (struct.error, zlib.error) as error:
            raise PictureError(f"a damaged PNG: {error}") from None

    @classmethod
    def _from_png(cls, data: bytes) -> Self:
        if not data.startswith(_SIGNATURE):
            raise PictureError("not a PNG")
        width = height = 0
        compressed = bytearray()
        for kind, chunk in _chunks(data):
            if kind == b"IHDR":
                width, height, what = struct.unpack(">II5s", chunk)
                if what != _RGB_8_BIT:
                    raise PictureError("not RGB with 8 bits a channel")
            elif kind == b"IDAT":
                compressed += chunk
        if not 0 < width * height <= _PIXEL_LIMIT:
            raise PictureError(f"a picture of {width} x {height} px")
        stride = 3 * width
        size = height * (1 + stride)
        filtered = zlib.decompressobj().decompress(compressed, size)
        if len(filtered) != size:
            raise PictureError("a PNG with too few pixels")
        return cls(width, height, tuple(_unfiltered(filtered, stride)))

    def to_png(self) -> bytes:
        """Write the picture as a PNG."""
        header = struct.pack(">II5s", self.width_px, self.height_px, _RGB_8_BIT)
        pixels = b"".join(b"\0" + row for row in self.rows)
        return _SIGNATURE + b"".join(
            struct.pack(">I", len(chunk))
            + kind
            + chunk
            + struct.pack(">I", zlib.crc32(kind + chunk))
            for kind, chunk in (
                (b"IHDR", header),
                (b"IDAT", zlib.compress(pixels, 1)),
                (b"IEND", b""),
            )
        )

    def scaled(self, width_px: int, height_px: int) -> "Picture":
        """Return the picture in another size, made smaller by averaging a few pixels each."""
        if (width_px, height_px) == (self.width_px, self.height_px):
            return self
        # For each tap a function that takes the bytes of its columns from a row.
        columns = [
            itemgetter(*(3 * x + channel for x in xs for channel in range(3)))
            for xs in _taps(self.width_px, width_px)
        ]
        lines = zip(*_taps(self.height_px, height_px), strict=True)
        return Picture(
            width_px,
            height_px,
            tuple(_mean([take(self.rows[y]) for y in ys for take in columns]) for ys in lines),
        )


def _taps(source: int, target: int) -> list[list[int]]:
    """Return, for each tap, the place in `source` pixels of each of `target` pixels."""
    taps = _TAPS if target < source else 1
    return [
        [(2 * (place * taps + tap) + 1) * source // (2 * taps * target) for place in range(target)]
        for tap in range(taps)
    ]


def _mean(rows: list[tuple[int, ...]]) -> bytes:
    if len(rows) == 1:
        return bytes(rows[0])
    return bytes(total // len(rows) for total in map(sum, zip(*rows, strict=True)))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if checksum != zlib.crc32(kind + chunk):
            raise PictureError("a damaged PNG: a checksum does not hold")
        yield kind, chunk
        position += 12 + length


def _unfiltered(filtered: bytes, stride: int) -> Iterator[bytes]:
    above = bytes(stride)
    for start in range(0, len(filtered), 1 + stride):
        undo = _UNDO.get(filtered[start])
        if undo is None:
            raise PictureError(f"a PNG with filter {filtered[start]}, of which there is none")
        above = undo(filtered[start + 1 : start + 1 + stride], above)
        yield above


def _undo_sub(row: bytes, _above: bytes) -> bytes:
    out = bytearray(len(row))
    for channel in range(3):
        out[channel::3] = bytes(total & 255 for total in accumulate(row[channel::3]))
    return bytes(out)


def _undo_up(row: bytes, above: bytes) -> bytes:
    # All bytes of a row at once, as two long numbers: the top bits apart, so that no
    # byte carries into the next. Leyden's images are whole in this filter.
    low = int.from_bytes(b"\x7f" * len(row))
    a, b = int.from_bytes(row), int.from_bytes(above)
    return (((a & low) + (b & low)) ^ ((a ^ b) & ~low)).to_bytes(len(row))


def _undo_average(row: bytes, above: bytes) -> bytes:
    out = bytearray(3) + bytearray(row)  # a pixel of zeros stands left of the first
    for i, up in enumerate(above):
        out[i + 3] = (out[i + 3] + (out[i] + up) // 2) & 255
    return bytes(out[3:])


def _undo_paeth(row: bytes, above: bytes) -> bytes:
    out = bytearray(3) + bytearray(row)
    for i, (up, corner) in enumerate(zip(above, bytes(3) + above, strict=False)):
        left = out[i]
        estimate = left + up - corner
        to_left, to_up, to_corner = (
            abs(estimate - left),
            abs(estimate - up),
            abs(estimate - corner),
        )
        if to_left <= to_up and to_left <= to_corner:
            nearest = left
        else:
            nearest = up if to_up <= to_corner else corner
        out[i + 3] = (out[i + 3] + nearest) & 255
    return bytes(out[3:])


_UNDO: dict[int, Callable[[bytes, bytes], bytes]] = {
    0: lambda row, _above: row,
    1: _undo_sub,
    2: _undo_up,
    3: _undo_average,
    4: _undo_paeth,
}
