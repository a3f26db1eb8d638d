"""Images as tensors have them: whole, and as their pixels."""

import asyncio
import io
from dataclasses import replace

from leyden_server.generations.events import Image, ImageChunk
from leyden_server.stages.contract import PIXELS

__all__ = ["Assembly", "pixels_of"]


class Assembly:
    """Puts the images of one generation together, whose data may come in chunks."""

    def __init__(self) -> None:
        self._announced: dict[int, Image] = {}
        self._chunks: dict[int, list[bytes]] = {}

    def take(self, event: Image | ImageChunk) -> Image | None:
        """Return the image that is whole with this event, if one is."""
        index = event.image_index
        if isinstance(event, Image):
            if event.data:
                return event
            self._announced[index], self._chunks[index] = event, []
            return None
        self._chunks[index].append(event.data)
        if not event.last:
            return None
        return replace(self._announced.pop(index), data=b"".join(self._chunks.pop(index)))


async def pixels_of(image: Image) -> bytes:
    """Return the pixels (height, width, 3) of an image; a file is decoded, in a thread."""
    if image.format == PIXELS:
        return image.data
    return await asyncio.to_thread(_decoded, image.data)


def _decoded(data: bytes) -> bytes:
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(data)) as file:
        return file.convert("RGB").tobytes()
