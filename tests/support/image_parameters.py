"""Reads, with Pillow alone, what an image file says of its making."""

import io
import json
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

__all__ = ["parameters_of"]


def parameters_of(data: bytes) -> dict[str, Any]:
    """Return the parameters that a PNG, JPEG or WebP of Leyden carries."""
    image: Any = Image.open(io.BytesIO(data))
    image.load()
    if image.format == "PNG":
        text = image.text["leyden"]
    else:
        comment = image.getexif().get_ifd(IFD.Exif)[Base.UserComment]
        assert comment.startswith(b"UNICODE\0")
        text = comment[8:].decode("utf-16-be")
    parameters: dict[str, Any] = json.loads(text)
    return parameters
