"""/v1/images/generations: decode, start, watch, encode."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from leyden_server.config import GatewayConfig
from leyden_server.errors import InvalidRequestError, ReaderTooSlowError
from leyden_server.gateway.openai.decoding import VOCABULARY, Asked, decode
from leyden_server.gateway.openai.encoding import (
    comment,
    completed,
    data_event,
    images_body,
    partial_image,
)
from leyden_server.gateway.openai.wire_error import error_body
from leyden_server.gateway.parsing import invalid
from leyden_server.gateway.web.exchange import Exchange, start_message
from leyden_server.generations.assembly import Assembly
from leyden_server.generations.events import (
    DenoiseProgress,
    Event,
    Image,
    ImageChunk,
    Queued,
    TextEncoded,
)
from leyden_server.generations.home import Caller
from leyden_server.generations.parameters import RequestedPreview
from leyden_server.generations.registry import Generations
from leyden_server.generations.watching import Watching

__all__ = ["PROTOCOL", "Images"]

PROTOCOL = "openai"
"""As the request log and the metrics name it."""

MAX_PREVIEW_PX = 1024

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "x-accel-buffering": "no",  # nginx would hold the events back
}


class Images:
    """Generates for OpenAI's clients."""

    def __init__(self, generations: Generations, config: GatewayConfig) -> None:
        self._generations = generations
        self._config = config

    async def generate(self, exchange: Exchange, caller: Caller) -> None:
        """Answer one request; raises what it is refused for, and what it fails of."""
        try:
            asked = await self._asked(exchange)
        except InvalidRequestError as error:
            self._generations.turned_away(caller, error)
            raise
        async with exchange.until_left():
            watching = await self._generations.start(asked.request, caller, VOCABULARY)
            with watching:
                try:
                    if asked.streams:
                        await self._stream(exchange, watching, asked)
                    else:
                        await self._whole(exchange, watching)
                except ReaderTooSlowError as error:
                    watching.leave(error=error)
                    raise
                except asyncio.CancelledError:
                    watching.leave("CANCELLED")
                    raise

    async def _asked(self, exchange: Exchange) -> Asked:
        most_bytes = self._config.max_request_bytes
        try:
            body = await exchange.body(most_bytes)
        except ValueError as error:
            raise invalid("", str(error)) from error
        if body is None:
            raise asyncio.CancelledError
        asked = decode(body)
        if not asked.partial_images:
            return asked
        model = self._generations.catalog.get(asked.request.model).model
        if model.preview is None:
            raise invalid("partial_images", f"model {model.name!r} has no previews")
        width_px = asked.request.width_px or model.width_px
        height_px = asked.request.height_px or model.height_px
        preview = RequestedPreview(
            size_px=min(max(width_px, height_px), MAX_PREVIEW_PX),
            every_steps=_every_steps(asked, model.steps.default),
            format=asked.request.output_format or "PNG",
        )
        return replace(asked, request=replace(asked.request, preview=preview))

    async def _whole(self, exchange: Exchange, watching: Watching) -> None:
        assembly, images = Assembly(), dict[int, Image]()
        async for _, event in await watching.events():
            if isinstance(event, Image | ImageChunk):
                image = assembly.take(event)
                if image is not None:
                    images[image.image_index] = image
        body = json.dumps(images_body([images[index] for index in sorted(images)])).encode()
        await exchange.answer(200, body, "application/json")
        self._generations.sent(PROTOCOL, len(body))

    async def _stream(self, exchange: Exchange, watching: Watching, asked: Asked) -> None:
        """Send events; an error after the first of them is one too, since the status is out."""
        writing = _Encoder(asked)
        events = aiter(_with_silences(watching, self._config.queued_interval_s))
        try:
            async with aclosing(events):  # type: ignore[type-var]
                async for event in events:
                    if not exchange.has_started:
                        await exchange.send(start_message(200, STREAM_HEADERS))
                    await self._send(exchange, writing.encoded(event))
        except (ReaderTooSlowError, asyncio.CancelledError):
            raise
        except Exception as error:
            if not exchange.has_started:
                raise
            await self._send(exchange, data_event(error_body(self._generations.known(error))))
        await exchange.send({"type": "http.response.body", "body": b""})

    async def _send(self, exchange: Exchange, data: bytes) -> None:
        if data:
            await exchange.send({"type": "http.response.body", "body": data, "more_body": True})
            self._generations.sent(PROTOCOL, len(data))


class _Encoder:
    """Makes of the events of one generation what is sent of them."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._assembly = Assembly()
        self._partial_images = 0

    def encoded(self, event: Event | None) -> bytes:
        """Return what is sent of an event; None is a silence."""
        match event:
            case None:
                return comment("working")
            case Queued():
                return comment(f"queued behind {event.position} images")
            case TextEncoded():
                return comment("text encoded")
            case DenoiseProgress():
                return self._progress(event)
            case Image() | ImageChunk():
                image = self._assembly.take(event)
                return b"" if image is None else completed(image)
            case _:
                return b""

    def _progress(self, event: DenoiseProgress) -> bytes:
        every = _every_steps(self._asked, event.total_steps)
        before_last, odd = divmod(event.total_steps - event.step, every)
        # The last step's preview would be the image itself, and there are to be so many at most.
        is_due = odd == 0 and 1 <= before_last <= self._asked.partial_images
        if event.preview is None or not is_due:
            return comment(f"step {event.step} of {event.total_steps}")
        self._partial_images += 1
        return partial_image(event.preview, self._partial_images - 1)


def _every_steps(asked: Asked, total_steps: int) -> int:
    """Return how many steps lie between previews, counted back from the last step's."""
    return max(1, total_steps // (asked.partial_images + 1))


async def _with_silences(watching: Watching, longest_s: float) -> AsyncIterator[Event | None]:
    """Yield a generation's events, and None wherever none came for so many seconds."""
    reading = aiter(await watching.events())
    coming: asyncio.Future[tuple[int, Event]] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(reading))
            while not (await asyncio.wait([coming], timeout=longest_s))[0]:
                yield None
            try:
                _, event = coming.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait([coming])
