"""From the responses of a stream to its events, with the contract checked on the way."""

from dataclasses import dataclass, field

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_client import _wire
from leyden_client.errors import ProtocolError
from leyden_client.events import (
    DenoiseProgress,
    Event,
    Image,
    Queued,
    Summary,
    TextEncoded,
)


class HeaderMissingError(Exception):
    """The chunks of an image came whose `image` event lies before what is watched."""


@dataclass(slots=True)
class _PartialImage:
    """An image whose chunks are on their way."""

    header: pb.Image
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Shown:
    """What the reader of a generation has been shown, by all of its runs."""

    text_encoded: bool = False
    steps: dict[int, int] = field(default_factory=dict)
    """Of each image, the last denoise step."""
    images: set[int] = field(default_factory=set)

    def has(self, event: Event) -> bool:
        """Whether a run that begins anew tells nothing new by `event`."""
        match event:
            case Queued():
                # Who has seen steps is not told of a queue, which comes before them.
                return bool(self.steps)
            case TextEncoded():
                return self.text_encoded
            case DenoiseProgress():
                return event.step <= self.steps.get(event.image_index, 0)
            case Image():
                return event.image_index in self.images
            case Summary():
                return False

    def note(self, event: Event) -> None:
        """Remember that `event` was shown."""
        match event:
            case TextEncoded():
                self.text_encoded = True
            case DenoiseProgress():
                self.steps[event.image_index] = event.step
            case Image():
                self.images.add(event.image_index)
            case _:
                pass


class EventAssembler:
    """Turns the responses of one generation into events and joins the chunks of images.

    The responses may come by several calls: those of WatchGeneration go on where the
    last one ended, and `start_over` begins again at event 0 and shows nothing twice.
    Every method raises `ProtocolError` where a stream breaks the API's contract.
    """

    def __init__(
        self, request_id: str, image_count: int | None, after_event_index: int | None = None
    ) -> None:
        """Expect the events of `request_id`, those after `after_event_index` if given.

        `image_count` is how many images were asked for; None: not known.
        """
        self._request_id = request_id
        self._image_count = image_count
        self._after_event_index = -1 if after_event_index is None else after_event_index
        # A generation may have fewer events by now than its watcher says to know.
        self._next_index = 0 if after_event_index is None else None
        self._shown = _Shown()
        self._repeats = False
        self._missing_images = set(range(image_count or 0))
        self._partial: _PartialImage | None = None
        self._done = False

    @property
    def last_index(self) -> int | None:
        """Index of the last response that came; None: none did."""
        return self._next_index - 1 if self._next_index else None

    @property
    def is_done(self) -> bool:
        """Whether the summary came, which is last."""
        return self._done

    def start_over(self) -> None:
        """Expect event 0 next: all events come again, or the generation runs again."""
        self._next_index = 0
        self._repeats = True
        self._missing_images = set(range(self._image_count or 0))
        self._partial = None

    def add(self, response: pb.GenerateImageResponse) -> Event | None:
        """Take the next response; return its event, or None where there is none to show.

        Raises `HeaderMissingError` where an image began before `after_event_index`.
        """
        self._check_order(response)
        event = self._event(response)
        if event is None or event.event_index <= self._after_event_index:
            return None
        if self._repeats and self._shown.has(event):
            return None
        self._shown.note(event)
        return event

    def _event(self, response: pb.GenerateImageResponse) -> Event | None:
        event: Event | None
        match response.WhichOneof("event"):
            case "queued":
                event = _wire.queued(response)
            case "text_encoded":
                event = _wire.text_encoded(response)
            case "denoise_progress":
                event = self._progress(response)
            case "image":
                event = self._image(response)
            case "image_chunk":
                event = self._chunk(response)
            case "summary":
                event = self._summary(response)
            case _:
                # A kind of event that a later version of the API added.
                event = None
        return event

    def finish(self) -> None:
        """Say that the stream ended with status OK."""
        if not self._done:
            raise ProtocolError(
                f"the stream ended after {self._next_index or 0} events, with no summary"
            )

    def _check_order(self, response: pb.GenerateImageResponse) -> None:
        if self._done:
            raise ProtocolError("an event came after the summary")
        if self._next_index is not None and response.event_index != self._next_index:
            raise ProtocolError(
                f"event {self._next_index} was due, event {response.event_index} came"
            )
        if response.request_id != self._request_id:
            raise ProtocolError(
                f"an event of {response.request_id!r} came in the stream of {self._request_id!r}"
            )
        self._next_index = response.event_index + 1

    def _progress(self, response: pb.GenerateImageResponse) -> DenoiseProgress:
        image_index = response.denoise_progress.image_index
        if image_index < 0 or (self._image_count is not None and image_index >= self._image_count):
            raise ProtocolError(f"a step of image {image_index} came, which was not asked for")
        return _wire.denoise_progress(response)

    def _image(self, response: pb.GenerateImageResponse) -> Image | None:
        header = response.image
        if self._partial is not None:
            raise ProtocolError(
                f"image {header.image_index} came between the chunks of image "
                f"{self._partial.header.image_index}"
            )
        if self._image_count is not None and header.image_index not in self._missing_images:
            raise ProtocolError(f"image {header.image_index} was not asked for, or came twice")
        if header.size_bytes <= 0:
            raise ProtocolError(f"image {header.image_index} has {header.size_bytes} bytes")
        if not header.data:
            self._partial = _PartialImage(header)
            return None
        return self._whole(response, header, header.data)

    def _chunk(self, response: pb.GenerateImageResponse) -> Image | None:
        chunk = response.image_chunk
        partial = self._partial
        if partial is None and self._after_event_index >= 0 and not self._repeats:
            raise HeaderMissingError
        if partial is None or partial.header.image_index != chunk.image_index:
            raise ProtocolError(f"a chunk of image {chunk.image_index} came without its image")
        if chunk.offset_bytes != len(partial.data):
            raise ProtocolError(
                f"the chunk of image {chunk.image_index} at {len(partial.data)} bytes was due, "
                f"the one at {chunk.offset_bytes} came"
            )
        partial.data += chunk.data
        if len(partial.data) > partial.header.size_bytes:
            # Checked at every chunk: a size that was promised bounds the memory.
            raise ProtocolError(
                f"image {chunk.image_index} goes past its {partial.header.size_bytes} bytes"
            )
        if not chunk.last:
            return None
        self._partial = None
        return self._whole(response, partial.header, bytes(partial.data))

    def _whole(self, response: pb.GenerateImageResponse, header: pb.Image, data: bytes) -> Image:
        if len(data) != header.size_bytes:
            raise ProtocolError(
                f"image {header.image_index} has {len(data)} of its {header.size_bytes} bytes"
            )
        self._missing_images.discard(header.image_index)
        return _wire.image(response, header, data)

    def _summary(self, response: pb.GenerateImageResponse) -> Summary:
        if self._missing_images:
            missing = ", ".join(str(index) for index in sorted(self._missing_images))
            raise ProtocolError(f"the summary came without image {missing}")
        self._done = True
        return _wire.summary(response)
