"""What an image file of Leyden's says of its making.

The reader is written by hand, since a client without Pillow must have it and no small library
reads all three: a PNG's text chunk `leyden`, or the Exif field UserComment of a JPEG or WebP.
It looks at the heads of parts and passes over the pixels; whatever a file claims, it reads no
more than `_TEXT_LIMIT_BYTES` of text.

Sources: PNG, https://www.w3.org/TR/png-3/; JPEG's markers, ITU-T T.81, annex B; WebP, RFC 9649;
Exif 2.32 (CIPA DC-008) and the TIFF 6.0 directories that it lies in.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import SEEK_CUR
from pathlib import Path
from typing import Any, BinaryIO

from leyden_client.errors import LeydenError
from leyden_client.options import OutputFormat

__all__ = ["ImageFile", "ImageFileError", "read_image_file"]

_TEXT_LIMIT_BYTES = 2**20
"""Far over the longest prompts that a server takes, and far under what could do harm."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEYWORD = b"leyden\0"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_EXIF_SIGNATURE = b"Exif\0\0"
_EXIF_IFD_TAG = 0x8769
_USER_COMMENT_TAG = 0x9286


class ImageFileError(LeydenError):
    """A file is no PNG, JPEG or WebP, is damaged, or does not say what made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An image file that says what made it."""

    format: OutputFormat
    """Encoding of the file."""
    width_px: int
    """Width in pixels, as the file's header has it."""
    height_px: int
    """Height in pixels, as the file's header has it."""
    parameters: Mapping[str, object]
    """What made the image: `model`, `prompt`, `seed` and so on, as its server wrote them."""


def read_image_file(path: str | os.PathLike[str]) -> ImageFile:
    """Read the parameters that the image file at `path` carries.

    Raises:
        ImageFileError: it is no PNG, JPEG or WebP, is damaged, or carries none.
        OSError: it cannot be read.

    """
    with Path(path).open("rb") as file:
        try:
            return _read(file)
        except ImageFileError as error:
            raise ImageFileError(f"{path} {error}") from None
        except (struct.error, zlib.error):
            raise ImageFileError(f"{path} is damaged or cut short") from None


def _read(file: BinaryIO) -> ImageFile:
    head = file.read(12)
    if head.startswith(_PNG_SIGNATURE):
        file.seek(len(_PNG_SIGNATURE))
        return _read_png(file)
    if head.startswith(_JPEG_SIGNATURE):
        file.seek(2)
        return _read_jpeg(file)
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return _read_webp(file)
    raise ImageFileError("is not a PNG, JPEG or WebP image")


# ---- PNG --------------------------------------------------------------------------


def _read_png(file: BinaryIO) -> ImageFile:
    size: tuple[int, int] | None = None
    for kind, length in _png_chunks(file):
        if kind == b"IHDR":
            # Its 13 bytes begin with the size; asked for by number, as a damaged length may be any.
            size = struct.unpack(">II", _png_data(file, kind, min(length, 13))[:8])
        elif kind == b"iTXt" and length <= _TEXT_LIMIT_BYTES:
            text = _png_text(_png_data(file, kind, length))
            if text is not None and size is not None:
                return _image_file(OutputFormat.PNG, size, [text])
    raise _no_parameters()


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield kind and length of each chunk, the file standing at its data."""
    while True:
        length, kind = struct.unpack(">I4s", file.read(8))
        data_at = file.tell()
        yield kind, length
        if kind == b"IEND":
            return
        file.seek(data_at + length + 4)


def _png_data(file: BinaryIO, kind: bytes, length: int) -> bytes:
    data = file.read(length)
    if struct.unpack(">I", file.read(4)) != (zlib.crc32(data, zlib.crc32(kind)),):
        raise ImageFileError(f"is damaged: the checksum of its {kind.decode()} does not hold")
    return data


def _png_text(data: bytes) -> bytes | None:
    """Return the text of an iTXt chunk where its keyword is Leyden's."""
    if not data.startswith(_PNG_KEYWORD):
        return None
    flags_at = len(_PNG_KEYWORD)
    compressed, rest = data[flags_at : flags_at + 1], data[flags_at + 2 :]
    # After the flags: language, zero, translated keyword, zero, text.
    text = rest.split(b"\0", 2)[-1]
    if compressed == b"\0":
        return text
    return zlib.decompressobj().decompress(text, _TEXT_LIMIT_BYTES)


# ---- JPEG -------------------------------------------------------------------------


def _read_jpeg(file: BinaryIO) -> ImageFile:
    texts: list[bytes] = []
    while True:
        prefix, marker, length = struct.unpack(">BBH", file.read(4))
        if prefix != 0xFF or length < 2:
            raise ImageFileError("is damaged: a JPEG marker is not where it should be")
        if marker == 0xE1:
            texts += _exif_comments(file.read(length - 2), _EXIF_SIGNATURE)
        elif _starts_a_frame(marker):
            height, width = struct.unpack(">xHH", file.read(5))
            return _image_file(OutputFormat.JPEG, (width, height), texts)
        elif marker in {0xD9, 0xDA}:  # the end, or the pixels
            raise ImageFileError("is damaged: a JPEG without its size")
        else:
            file.seek(length - 2, SEEK_CUR)


def _starts_a_frame(marker: int) -> bool:
    """Tell SOF0 to SOF15 from DHT, JPG and DAC, which lie among them."""
    return 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}


# ---- WebP -------------------------------------------------------------------------


def _read_webp(file: BinaryIO) -> ImageFile:
    """Read an extended WebP, the only kind that has room for Exif."""
    size: tuple[int, int] | None = None
    while head := file.read(8):
        kind, length = struct.unpack("<4sI", head)
        data_at = file.tell()
        if kind == b"VP8X":
            flags_and_size = file.read(10)
            width, height = (int.from_bytes(flags_and_size[at : at + 3], "little") for at in (4, 7))
            size = width + 1, height + 1
        elif kind == b"EXIF" and size is not None and length <= _TEXT_LIMIT_BYTES:
            # Some writers keep JPEG's signature here too.
            exif = file.read(length).removeprefix(_EXIF_SIGNATURE)
            return _image_file(OutputFormat.WEBP, size, _exif_comments(exif))
        file.seek(data_at + length + length % 2)
    raise _no_parameters()


# ---- Exif -------------------------------------------------------------------------


def _exif_comments(data: bytes, signature: bytes = b"") -> list[bytes]:
    """Return the UserComment of Exif data in UTF-8: none, one, or one for each byte order."""
    if not data.startswith(signature):
        return []
    tiff = data[len(signature) :]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        raise ImageFileError("is damaged: its Exif has no byte order")
    (main_at,) = struct.unpack_from(f"{order}I", tiff, 4)
    exif_at = _ifd(tiff, order, main_at).get(_EXIF_IFD_TAG)
    if exif_at is None:
        return []
    comment = _ifd(tiff, order, exif_at[1]).get(_USER_COMMENT_TAG)
    if comment is None:
        return []
    length, at = comment
    encoding, text = tiff[at : at + 8], tiff[at + 8 : at + length]
    if encoding == b"UNICODE\0":
        # Exif leaves the byte order open. Leyden's is big-endian; a tool that saved
        # the file again may have turned it into that of the directory.
        return [
            text.decode(f"utf-16-{end}", errors="replace").encode(errors="replace")
            for end in ("be", "le")
        ]
    return [text] if encoding == b"ASCII\0\0\0" else []


def _ifd(tiff: bytes, order: str, at: int) -> dict[int, tuple[int, int]]:
    """Return count and value (where it is over four bytes: its place) of each tag."""
    (entries,) = struct.unpack_from(f"{order}H", tiff, at)
    found = {}
    for number in range(entries):
        tag, _, count, value = struct.unpack_from(f"{order}HHII", tiff, at + 2 + 12 * number)
        found[tag] = (count, value)
    return found


# ---- the parameters ---------------------------------------------------------------


def _image_file(
    output_format: OutputFormat, size: tuple[int, int], texts: list[bytes]
) -> ImageFile:
    for text in texts:
        parameters = _parameters(text)
        if parameters is not None:
            width_px, height_px = size
            return ImageFile(
                format=output_format, width_px=width_px, height_px=height_px, parameters=parameters
            )
    raise _no_parameters()


def _parameters(text: bytes) -> dict[str, object] | None:
    try:
        parsed: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    # Other tools have JSON in their comments too.
    return parsed if isinstance(parsed, dict) and "prompt" in parsed else None


def _no_parameters() -> ImageFileError:
    return ImageFileError(
        "does not say what made it: only files as Leyden wrote them do, and many "
        "programs and web sites drop it when they save an image again"
    )
