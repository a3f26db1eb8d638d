"""Pixels to a PNG, JPEG or WebP that carries the parameters which made it."""

import io
import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from leyden_server.stages.contract import PIXELS, ImageFormat
from leyden_server.vae.png import encode_png

__all__ = ["METADATA_KEY", "encode_image"]

METADATA_KEY = "leyden"
"""Keyword of the PNG text chunk that holds the parameters as JSON."""

# Of libwebp's 0 (fastest) to 6; 4, its default, takes three times as long for files of
# about the same size: benchmarks/image_encoders.py.
WEBP_METHOD = 0

BYTE, UNDEFINED = 1, 7
"""Types of a TIFF field."""


def encode_image(
    pixels: NDArray[np.uint8],
    image_format: ImageFormat,
    quality: int,
    parameters: dict[str, object],
) -> bytes:
    """Encode pixels (H, W, 3). `quality` is 1 … 100 and means nothing to PNG.

    `parameters` go, as JSON, into a PNG's text chunk `leyden`, or into the Exif field
    UserComment of a JPEG or WebP, where Stable Diffusion's tools look for theirs. Those of
    a JPEG or WebP have `output_quality` too, without which it could not be made again. Of
    PIXELS nothing but the pixels is returned.
    """
    if image_format == PIXELS:
        return pixels.tobytes()
    if image_format == "PNG":
        return encode_png(pixels, {METADATA_KEY: _json(parameters), "Software": "Leyden"})
    text = _json({**parameters, "output_quality": quality})
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = b"UNICODE\0" + text.encode("utf-16-be")
    exif[Base.Software] = "Leyden"
    data = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(
        data, image_format, quality=quality, method=WEBP_METHOD, exif=_undefined_comment(exif)
    )
    return data.getvalue()


def _undefined_comment(exif: Image.Exif) -> bytes:
    """Return the Exif data with UserComment as Exif types it, UNDEFINED: Pillow says BYTE.

    What is of type BYTE, exiv2 and what is built on it show as a list of numbers.
    """
    data = exif.tobytes()
    as_byte, as_undefined = (
        Base.UserComment.to_bytes(2, "big") + kind.to_bytes(2, "big") for kind in (BYTE, UNDEFINED)
    )
    # The field's entry comes before any text in the data.
    before, found, after = data.partition(as_byte)
    assert found
    return before + as_undefined + after


def _json(parameters: dict[str, object]) -> str:
    return json.dumps(parameters, ensure_ascii=False)
