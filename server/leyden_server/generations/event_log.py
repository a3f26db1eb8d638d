"""The events of one generation on their way to a reader who may be slow."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from leyden.v1 import image_generation_service_pb2 as pb

__all__ = ["EventStream"]

MAX_UNREAD_PREVIEWS = 2
"""Previews of an image that may wait for a reader; one more takes the oldest one's place."""


class EventStream:
    """Numbers events and hands them out in order.

    The stages write at their own pace and never wait for the reader. Progress is kept for
    it whole; of previews only the newest few, so a slow reader costs little memory.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._unread: deque[pb.GenerateImageResponse] = deque()
        self._with_preview: dict[int, deque[pb.GenerateImageResponse]] = {}
        self._changed = asyncio.Event()
        self._event_index = 0
        self._closed = False

    def put(self, *events: pb.GenerateImageResponse) -> None:
        """Append events; those of one call stay together."""
        for event in events:
            event.request_id = self._request_id
            event.event_index = self._event_index
            self._event_index += 1
            self._unread.append(event)
            if event.denoise_progress.HasField("preview"):
                previews = self._previews_of(event)
                previews.append(event)
                if len(previews) > MAX_UNREAD_PREVIEWS:
                    previews.popleft().denoise_progress.ClearField("preview")
        self._changed.set()

    def close(self) -> None:
        """End the iteration after what is unread."""
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[pb.GenerateImageResponse]:
        while True:
            while self._unread:
                event = self._unread.popleft()
                if event.denoise_progress.HasField("preview"):
                    self._previews_of(event).popleft()
                yield event
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()

    def _previews_of(self, event: pb.GenerateImageResponse) -> deque[pb.GenerateImageResponse]:
        return self._with_preview.setdefault(event.denoise_progress.image_index, deque())
