"""The ImageGenerationService: decode, start or find, watch, encode."""

import asyncio
from typing import Any

import grpc

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import (
    FieldViolation,
    InvalidRequestError,
    NoRequestError,
    ReaderTooSlowError,
)
from leyden_server.gateway.answering import caller_of, departure_code, end_stream, refuse
from leyden_server.gateway.leyden_v1.decoding import VOCABULARY, generation_request
from leyden_server.gateway.leyden_v1.encoding import response
from leyden_server.gateway.method_handlers import unary_stream, unary_unary
from leyden_server.gateway.parsing import parse
from leyden_server.gateway.peers import Peers
from leyden_server.gateway.writing import Writer
from leyden_server.generations.home import Caller
from leyden_server.generations.registry import Generations
from leyden_server.generations.watching import OwnedElsewhereError, Watching

__all__ = ["SERVICE_NAME", "ImageGeneration"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ImageGenerationService"].full_name

PROTOCOL = "leyden.v1"
"""As the metrics name it."""

Context = grpc.aio.ServicerContext[bytes, Any]


class ImageGeneration:
    """Serves GenerateImage, WatchGeneration and CancelGeneration."""

    def __init__(self, generations: Generations, peers: Peers, config: GatewayConfig) -> None:
        self._generations = generations
        self._peers = peers
        self._config = config

    def handler(self) -> "grpc.GenericRpcHandler[bytes, Any]":
        """Return the handler to add to a server; it takes bytes, as `parsing` says why."""
        methods = {
            "GenerateImage": unary_stream(self.generate_image, refused=self._refused),
            "WatchGeneration": unary_stream(self.watch_generation),
            "CancelGeneration": unary_unary(self.cancel_generation),
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def generate_image(self, data: bytes, context: Context) -> None:
        """Begin a generation, or join it, and send its events."""
        caller = caller_of(context, f"{SERVICE_NAME}/GenerateImage")
        try:
            request = generation_request(parse(pb.GenerateImageRequest, data))
        except InvalidRequestError as error:
            self._generations.turned_away(caller, error)
            end_stream(error, context)
            return
        try:
            watching = await self._generations.start(request, caller, VOCABULARY)
            await self._send(watching, context, caller)
        except OwnedElsewhereError as elsewhere:
            method = f"/{SERVICE_NAME}/GenerateImage"
            await self._peers.stream(elsewhere.address, method, data, context, request.request_id)
        except Exception as error:  # noqa: BLE001 - the table maps every one
            end_stream(self._generations.known(error), context)

    def _refused(self, context: Context, error: NoRequestError) -> None:
        """Have a call in the log that carried no request to start."""
        self._generations.turned_away(caller_of(context, f"{SERVICE_NAME}/GenerateImage"), error)

    async def watch_generation(self, data: bytes, context: Context) -> None:
        """Send the events of a generation from a given one on."""
        caller, request_id = caller_of(context, f"{SERVICE_NAME}/WatchGeneration"), ""
        try:
            request = parse(pb.WatchGenerationRequest, data)
            request_id = request.request_id
            watching = await self._generations.watch(request_id, _after_index(request), caller)
            await self._send(watching, context, caller)
        except OwnedElsewhereError as elsewhere:
            method = f"/{SERVICE_NAME}/WatchGeneration"
            await self._peers.stream(elsewhere.address, method, data, context, request_id)
        except Exception as error:  # noqa: BLE001 - the table maps every one
            end_stream(self._generations.known(error), context)

    async def cancel_generation(self, data: bytes, context: Context) -> bytes:
        """End a generation."""
        caller, request_id = caller_of(context, f"{SERVICE_NAME}/CancelGeneration"), ""
        try:
            request_id = parse(pb.CancelGenerationRequest, data).request_id
            await self._generations.cancel(request_id, caller)
        except OwnedElsewhereError as elsewhere:
            method = f"/{SERVICE_NAME}/CancelGeneration"
            return await self._peers.unary(elsewhere.address, method, data, context, request_id)
        except Exception as error:  # noqa: BLE001 - the table maps every one
            await refuse(self._generations.known(error), context)
        return pb.CancelGenerationResponse().SerializeToString()

    async def _send(self, watching: Watching, context: Context, caller: Caller) -> None:
        """Send a generation's events; raises its error at its end."""
        with watching:
            await self._send_events(watching, context, caller)

    async def _send_events(self, watching: Watching, context: Context, caller: Caller) -> None:
        request_id, has_begun = watching.request_id, False
        try:
            with Writer(context, self._config.write_timeout_s) as writer:
                async for index, event in await watching.events():
                    if not has_begun:
                        # Only now, since a refusal is to have none: by them gRPC's own retries
                        # know what ran. And by themselves, since a first write that brings them
                        # along cannot be broken off: gRPC takes no status afterwards (1.85).
                        await context.send_initial_metadata(())
                        has_begun = True
                    message = response(request_id, index, event).SerializeToString()
                    await writer.write(message)
                    self._generations.sent(PROTOCOL, len(message))
        except ReaderTooSlowError as error:
            watching.leave(error=error)
            raise
        except asyncio.CancelledError:
            watching.leave(departure_code(context.time_remaining(), caller.timeout_s))
            raise


def _after_index(request: pb.WatchGenerationRequest) -> int | None:
    if not request.HasField("after_event_index"):
        return None
    index = request.after_event_index
    if index < 0:
        raise InvalidRequestError((FieldViolation("after_event_index", f"0 or more; got {index}"),))
    return index
