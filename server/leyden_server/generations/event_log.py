"""The events of one generation: written once, read by many, from any index, at any pace."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from leyden_server.errors import EventsExpiredError
from leyden_server.generations.events import (
    DenoiseProgress,
    Event,
    Image,
    ImageChunk,
    completes_image,
    payload_bytes,
)

__all__ = ["EventLog", "Reading", "Unread"]

MAX_UNREAD_PREVIEWS = 2
"""Previews of an image that are kept for slow readers; one more takes the oldest one's place."""


class Unread:
    """What the readers of all logs together have not taken yet, and what they were too slow for."""

    def __init__(self) -> None:
        self.bytes = 0
        """Of image data."""
        self.dropped_previews = 0
        """Once for each reader that had not taken it."""


class Reading:
    """One watcher's place in a log. Iterate it once: (index, event), in order, gapless.

    It ends when the log is closed and all of it was yielded, by raising the log's error where
    there is one. An event that was written before the reading began comes without its preview.
    """

    def __init__(self, log: "EventLog", start: int) -> None:
        self.position = start
        """Index of the first event that was not read; one that is being sent is not read yet."""
        self.images_read = 0
        """Images that were read to their last byte."""
        self.is_complete = False
        """Whether everything up to the summary was read."""
        self._log = log
        self._replayed_below = len(log)
        self._cut_off: Exception | None = None
        self._changed = asyncio.Event()

    @property
    def unread_bytes(self) -> int:
        """Payload of the log that this reader has not taken yet."""
        return self._log.payload_from(self.position)

    def cut_off(self, error: Exception) -> None:
        """End the reading with `error`, whatever is left to read."""
        self._cut_off = error
        self._changed.set()

    def wake(self) -> None:
        """Look again: the log has changed."""
        self._changed.set()

    async def __aiter__(self) -> AsyncGenerator[tuple[int, Event]]:
        log = self._log
        while True:
            if self._cut_off is not None:
                raise self._cut_off
            if self.position < len(log):
                event = log.event(self.position)
                if self.position < self._replayed_below and isinstance(event, DenoiseProgress):
                    event = event.without_preview()
                yield self.position, event
                self.position += 1
                if log.payload_bytes:
                    self.images_read += completes_image(event)
                    log.was_read(self, self.position - 1)
            elif log.closed:
                if log.error is not None:
                    raise log.error
                self.is_complete = True
                return
            else:
                self._changed.clear()
                await self._changed.wait()


class EventLog:
    """Events by their index. Whoever writes never waits for a reader.

    Progress is kept whole. Of previews only the newest few are, so that a slow reader costs
    little memory; images are kept until every present reader has them, or for longer.
    """

    def __init__(
        self, request_id: str, *, keeps_payload: bool, unread: Unread | None = None
    ) -> None:
        """Make an empty log.

        Args:
            request_id: the generation's, for errors.
            keeps_payload: whether images outlive their being read, until `drop_payload`.
            unread: where all logs count what is unread; None: this one for itself.

        """
        self.error: Exception | None = None
        """How the generation failed, once the log is closed; None: it did not."""
        self.closed = False
        self.payload_bytes = 0
        """Of the images that are held now."""
        self.on_payload: Callable[[], None] = lambda: None
        """Called when there is more of it."""
        self._request_id = request_id
        self._unread = Unread() if unread is None else unread
        self._keeps_payload = keeps_payload
        self._events: list[Event] = []
        self._held: deque[tuple[int, int]] = deque()
        """Index and bytes of the events whose image data is held."""
        self._expired_below = 0
        """Image data of some event below this index was dropped, and none from there on."""
        self._with_preview: dict[int, deque[int]] = {}
        self._readings: set[Reading] = set()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def readings(self) -> frozenset[Reading]:
        """Those who read now."""
        return frozenset(self._readings)

    def put(self, *events: Event) -> None:
        """Append events; those of one call stay together."""
        held_before = self.payload_bytes
        for event in events:
            index = len(self._events)
            self._events.append(event)
            size = payload_bytes(event)
            if size:
                self._held.append((index, size))
                self.payload_bytes += size
            elif isinstance(event, DenoiseProgress) and event.preview is not None:
                self._keep_newest_previews(event.image_index, index)
        self._wake()
        if self.payload_bytes > held_before:
            self._unread.bytes += (self.payload_bytes - held_before) * len(self._readings)
            self.on_payload()

    def close(self, error: Exception | None = None) -> None:
        """End it: readers end after what they have not read yet, with `error` if there is one."""
        self.closed = True
        self.error = error
        self._wake()

    def read(self, after_index: int | None = None) -> Reading:
        """Begin to read behind `after_index`; None: from the first event.

        Raises:
            EventsExpiredError: image data from there on was dropped.

        """
        start = 0 if after_index is None else min(after_index + 1, len(self._events))
        if start < self._expired_below:
            raise EventsExpiredError(self._request_id)
        reading = Reading(self, start)
        self._readings.add(reading)
        self._unread.bytes += reading.unread_bytes
        return reading

    def leave(self, reading: Reading) -> None:
        """Forget a reader; harmless where that is done."""
        if reading not in self._readings:
            return
        self._readings.remove(reading)
        self._unread.bytes -= reading.unread_bytes
        if self.closed and not self._readings:
            # Replays come without previews, so nobody will want them.
            for indices in self._with_preview.values():
                for index in indices:
                    self._drop_preview(index)
            self._with_preview.clear()
        self._let_go()

    def event(self, index: int) -> Event:
        """Return an event as it is held."""
        return self._events[index]

    def payload_from(self, index: int) -> int:
        """Return the bytes of image data that are held from an index on."""
        return sum(size for held, size in self._held if held >= index)

    def was_read(self, reading: Reading, index: int) -> None:
        """Note that a reader has taken an event."""
        if reading in self._readings:
            self._unread.bytes -= payload_bytes(self._events[index])
            self._let_go()

    def _let_go(self) -> None:
        """Drop image data that every present reader has, where nothing is to be kept."""
        if self._held and not self._keeps_payload and self._readings:
            self._drop_below(min(reading.position for reading in self._readings))

    def drop_payload(self) -> None:
        """Let go of all image data; who wants it from now on is told that it has expired."""
        self._drop_below(len(self._events))

    def _drop_below(self, index: int) -> None:
        while self._held and self._held[0][0] < index:
            held, size = self._held.popleft()
            event = self._events[held]
            assert isinstance(event, Image | ImageChunk)
            self._events[held] = replace(event, data=b"")
            self.payload_bytes -= size
            self._unread.bytes -= size * sum(r.position <= held for r in self._readings)
            self._expired_below = held + 1

    def _keep_newest_previews(self, image_index: int, index: int) -> None:
        indices = self._with_preview.setdefault(image_index, deque())
        indices.append(index)
        if len(indices) > MAX_UNREAD_PREVIEWS:
            oldest = indices.popleft()
            self._drop_preview(oldest)
            self._unread.dropped_previews += sum(r.position <= oldest for r in self._readings)

    def _drop_preview(self, index: int) -> None:
        event = self._events[index]
        assert isinstance(event, DenoiseProgress)
        self._events[index] = event.without_preview()

    def _wake(self) -> None:
        for reading in self._readings:
            reading.wake()
