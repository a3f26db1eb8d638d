"""PNG files of RGB pixels, written in milliseconds.

Pillow spends 50 ms and more on a picture of 1024 x 1024, most of it on trying all five filters
on every row. Here every row has the filter Up, which is one subtraction in NumPy, and ISA-L
compresses and takes the checksums. All of them let go of the interpreter's lock.
`benchmarks/image_encoders.py` and `benchmarks/png_filters.py` have the figures.

Source: Portable Network Graphics (PNG) Specification, W3C, https://www.w3.org/TR/png-3/.
"""

import struct

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

__all__ = ["encode_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TRUECOLOR = 2
_FILTER_UP = 2
_COMPRESSION_LEVEL = 1
"""ISA-L's: 0 makes noisy pictures larger than they were, 2 and 3 cost more for little."""


def encode_png(pixels: NDArray[np.uint8], texts: dict[str, str]) -> bytes:
    """Encode pixels (H, W, 3) losslessly; `texts` go before them as iTXt chunks in UTF-8.

    Raises:
        ValueError: the pixels are not (H, W, 3), or a keyword not 1 to 79 characters of Latin-1.

    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels have shape {pixels.shape}; (H, W, 3) is allowed")
    height, width, _ = pixels.shape
    # Bit depth 8, then compression, filter method and interlace, of which 0 is all there is.
    header = struct.pack(">IIBBBBB", width, height, 8, _TRUECOLOR, 0, 0, 0)
    return b"".join(
        [
            _SIGNATURE,
            *_chunk(b"IHDR", header),
            *(
                part
                for keyword, text in texts.items()
                for part in _chunk(b"iTXt", _text(keyword, text))
            ),
            *_chunk(b"IDAT", isal_zlib.compress(_filtered_rows(pixels), level=_COMPRESSION_LEVEL)),
            *_chunk(b"IEND", b""),
        ]
    )


def _filtered_rows(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return rows (H, 1 + 3 W): the filter's number, then each byte less the one above it."""
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), dtype=np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]  # above the first row are zeros
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    return filtered


def _text(keyword: str, text: str) -> bytes:
    encoded = keyword.encode("latin-1")
    if not 1 <= len(encoded) <= 79:
        raise ValueError(f"the keyword {keyword!r} has {len(encoded)} characters; 1 to 79 may be")
    # Not compressed (two zeros), no language, no translation of the keyword.
    return encoded + b"\0\0\0\0\0" + text.encode()


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a chunk's parts: the image's data is copied once, into the file."""
    checksum = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind, data, struct.pack(">I", checksum)
