"""Pixels to a PNG, JPEG or WebP that carries the parameters which made it."""

import io
import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from leyden_server.stages.messages import ImageFormat

__all__ = ["METADATA_KEY", "encode_image"]

METADATA_KEY = "leyden"
"""Keyword of the PNG text chunk that holds the parameters as JSON."""

# Level 1 costs a quarter of the default's time for a few percent more bytes.
PNG_COMPRESS_LEVEL = 1


def encode_image(
    pixels: NDArray[np.uint8],
    image_format: ImageFormat,
    quality: int,
    parameters: dict[str, object],
) -> bytes:
    """Encode pixels (H, W, 3). `quality` is 1 … 100 and means nothing to PNG.

    `parameters` go, as JSON, into a PNG's text chunk `leyden`, or into the Exif field
    UserComment of a JPEG or WebP, where Stable Diffusion's tools look for theirs.
    """
    image = Image.fromarray(pixels, "RGB")
    text = json.dumps(parameters, ensure_ascii=False)
    data = io.BytesIO()
    if image_format == "PNG":
        info = PngInfo()
        info.add_itxt(METADATA_KEY, text)
        info.add_text("Software", "Leyden")
        image.save(data, "PNG", compress_level=PNG_COMPRESS_LEVEL, pnginfo=info)
    else:
        exif = Image.Exif()
        exif.get_ifd(IFD.Exif)[Base.UserComment] = b"UNICODE\0" + text.encode("utf-16-be")
        exif[Base.Software] = "Leyden"
        image.save(data, image_format, quality=quality, exif=exif)
    return data.getvalue()
