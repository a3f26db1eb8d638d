"""Images whose data comes in chunks, put together."""

from dataclasses import replace

from leyden_server.generations.events import Image, ImageChunk

__all__ = ["Assembly"]


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
