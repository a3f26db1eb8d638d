"""Images as tensors have them: as their pixels."""

import asyncio
import io

from leyden_server.generations.events import Image
from leyden_server.stages.contract import PIXELS

__all__ = ["pixels_of"]


async def pixels_of(image: Image) -> bytes:
    """Return the pixels (height, width, 3) of an image; a file is decoded, in a thread."""
    if image.format == PIXELS:
        return image.data
    return await asyncio.to_thread(_decoded, image.data)


def _decoded(data: bytes) -> bytes:
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(data)) as file:
        return file.convert("RGB").tobytes()
