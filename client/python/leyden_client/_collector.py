"""From the events of a generation to the whole."""

from leyden_client.errors import ProtocolError
from leyden_client.events import Event, Generation, Image, Summary


class GenerationCollector:
    """Gathers the events of one stream into the whole."""

    def __init__(self) -> None:
        self._images: list[Image] = []
        self._summary: Summary | None = None

    def add(self, event: Event) -> None:
        """Take the next event."""
        if isinstance(event, Image):
            self._images.append(event)
        elif isinstance(event, Summary):
            self._summary = event

    def generation(self) -> Generation:
        """Return the whole, once the stream is at its end."""
        if self._summary is None:
            raise ProtocolError("the stream has no summary")
        return Generation(
            request_id=self._summary.request_id,
            images=tuple(sorted(self._images, key=lambda image: image.image_index)),
            summary=self._summary,
        )
