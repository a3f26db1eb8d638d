"""The ImageGenerationService: decode, start or find, watch, encode."""

import asyncio

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.errors import (
    FieldViolation,
    InvalidRequestError,
    NoRequestError,
    ReaderTooSlowError,
)
from leyden_server.gateway.answering import departure_code
from leyden_server.gateway.call import Call
from leyden_server.gateway.leyden_v1.decoding import VOCABULARY, generation_request
from leyden_server.gateway.leyden_v1.encoding import response
from leyden_server.gateway.parsing import Body, parse
from leyden_server.gateway.peers import Peers
from leyden_server.generations.home import Caller
from leyden_server.generations.registry import Generations
from leyden_server.generations.watching import OwnedElsewhereError, Watching

__all__ = ["SERVICE_NAME", "ImageGeneration"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ImageGenerationService"].full_name


class ImageGeneration:
    """Answers GenerateImage, WatchGeneration and CancelGeneration, whatever the client speaks."""

    def __init__(self, generations: Generations, peers: Peers) -> None:
        self._generations = generations
        self._peers = peers

    async def generate_image(self, data: Body, call: Call) -> None:
        """Begin a generation, or join it, and send its events."""
        caller = call.caller()
        try:
            message = parse(pb.GenerateImageRequest, data)
            request = generation_request(message)
        except InvalidRequestError as error:
            self._generations.turned_away(caller, error)
            call.fail(error)
            return
        try:
            watching = await self._generations.start(request, caller, VOCABULARY)
            await self._send(watching, call, caller)
        except OwnedElsewhereError as elsewhere:
            again = message.SerializeToString()
            await self._peers.stream(elsewhere.address, again, call, request.request_id)
        except Exception as error:  # noqa: BLE001 - the table maps every one
            call.fail(self._generations.known(error))

    def refused(self, call: Call, error: NoRequestError) -> None:
        """Have a call in the log that carried no request to start."""
        self._generations.turned_away(call.caller(), error)

    async def watch_generation(self, data: Body, call: Call) -> None:
        """Send the events of a generation from a given one on."""
        caller, request = call.caller(), pb.WatchGenerationRequest()
        try:
            request = parse(pb.WatchGenerationRequest, data)
            after = _after_index(request)
            watching = await self._generations.watch(request.request_id, after, caller)
            await self._send(watching, call, caller)
        except OwnedElsewhereError as elsewhere:
            again = request.SerializeToString()
            await self._peers.stream(elsewhere.address, again, call, request.request_id)
        except Exception as error:  # noqa: BLE001 - the table maps every one
            call.fail(self._generations.known(error))

    async def cancel_generation(self, data: Body, call: Call) -> bytes:
        """End a generation."""
        request = pb.CancelGenerationRequest()
        try:
            request = parse(pb.CancelGenerationRequest, data)
            await self._generations.cancel(request.request_id, call.caller())
        except OwnedElsewhereError as elsewhere:
            again = request.SerializeToString()
            return await self._peers.unary(elsewhere.address, again, call, request.request_id)
        except Exception as error:  # noqa: BLE001 - the table maps every one
            call.fail(self._generations.known(error))
        return pb.CancelGenerationResponse().SerializeToString()

    async def _send(self, watching: Watching, call: Call, caller: Caller) -> None:
        """Send a generation's events; raises its error at its end."""
        with watching:
            await self._send_events(watching, call, caller)

    async def _send_events(self, watching: Watching, call: Call, caller: Caller) -> None:
        request_id, has_begun = watching.request_id, False
        try:
            async for index, event in await watching.events():
                if not has_begun:
                    # Only now, since a refusal is to begin nothing: by that gRPC's own retries
                    # know what ran.
                    await call.begin()
                    has_begun = True
                message = response(request_id, index, event).SerializeToString()
                await call.write(message)
                self._generations.sent(call.protocol, len(message))
        except ReaderTooSlowError as error:
            watching.leave(error=error)
            raise
        except asyncio.CancelledError:
            watching.leave(departure_code(call.time_remaining(), caller.timeout_s))
            raise


def _after_index(request: pb.WatchGenerationRequest) -> int | None:
    if not request.HasField("after_event_index"):
        return None
    index = request.after_event_index
    if index < 0:
        raise InvalidRequestError((FieldViolation("after_event_index", f"0 or more; got {index}"),))
    return index
