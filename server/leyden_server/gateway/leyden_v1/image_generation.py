"""The ImageGenerationService: one handler, from bytes to the last event."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import (
    RequestIdInUseError,
    UnavailableError,
)
from leyden_server.gateway.parsing import parse
from leyden_server.gateway.status import to_wire
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.event_log import EventStream
from leyden_server.generations.generation import Generation
from leyden_server.generations.records import RequestLog, RequestRecord
from leyden_server.generations.rules import GenerationParameters, validate
from leyden_server.stages.over_ray import RETRY_AFTER_S

__all__ = ["SERVICE_NAME", "ImageGeneration"]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ImageGenerationService"].full_name

MAX_LOGGED_CHARS = 128
"""Of names that have not been checked yet."""

DEADLINE_ROUNDING = 0.01
"""As a share of a deadline: how much of it may be left on this side when its client leaves.

gRPC tells a server a deadline with three digits, rounded up: 25.01 s arrive as 25.1, and the client
is gone with 0.095 s left (grpc 1.85).
"""

Context = grpc.aio.ServicerContext[bytes, pb.GenerateImageResponse]


class ImageGeneration:
    """Serves GenerateImage and knows what runs."""

    def __init__(
        self, catalog: ModelCatalog, config: GatewayConfig, log: RequestLog, replica: str
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._log = log
        self._replica = replica
        self._running: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._evicted = False

    def handler(self) -> "grpc.GenericRpcHandler[bytes, pb.GenerateImageResponse]":
        """Return the handler to add to a server; it takes bytes, as `parsing` says why."""
        method = grpc.unary_stream_rpc_method_handler(
            self.generate_image, response_serializer=pb.GenerateImageResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE_NAME, {"GenerateImage": method})

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests and wait for the running ones, for `timeout_s` at most.

        Those that are left then end as UNAVAILABLE.
        """
        self._draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            self._evicted = True
            for task in self._tasks:
                task.cancel()
            await self._idle.wait()

    async def generate_image(self, data: bytes, context: Context) -> None:
        """Serve one request."""
        record = RequestRecord(peer=context.peer(), timeout_s=context.time_remaining())
        try:
            await self._serve(data, context, record)
            record.code = "OK"
        except asyncio.CancelledError:
            if self._evicted and not context.done():
                await self._refuse(_draining(), context, record)
            _note_departure(context, record)
            raise
        except Exception as error:  # noqa: BLE001 - the table maps every one
            if context.done():  # the client left while we wrote to it
                _note_departure(context, record)
                return
            await self._refuse(_first(error), context, record)
        finally:
            self._log.write(record)

    async def _serve(self, data: bytes, context: Context, record: RequestRecord) -> None:
        request = parse(pb.GenerateImageRequest, data)
        # Before anything can be refused, so that every line of the log has one.
        request.request_id = request.request_id or str(uuid.uuid4())
        record.request_id = request.request_id[:MAX_LOGGED_CHARS]
        record.model = request.model[:MAX_LOGGED_CHARS]
        if self._draining:
            raise _draining()
        served = self._catalog.get(request.model)
        record.model = served.model.name
        parameters = validate(request, served.model, self._config)
        _note_parameters(record, parameters)
        # Before anything is waited for: a drain waits for those that it knows.
        with self._claim(parameters.request_id):
            # Before it can be refused: who has no time for a start has the next one find it done.
            await served.wake()
            ticket = served.admission.admit(
                parameters.image_count,
                context.time_remaining(),
                rows_per_image=parameters.rows_per_image,
            )
            try:
                events = EventStream(parameters.request_id)
                generation = Generation(
                    parameters,
                    served,
                    ticket,
                    events,
                    self._config,
                    timeout_s=context.time_remaining(),
                    replica=self._replica,
                )
                try:
                    await _run_and_send(generation, events, context, record)
                finally:
                    _note_bill(record, generation, parameters.rows_per_image)
            finally:
                ticket.leave()

    @contextmanager
    def _claim(self, request_id: str) -> Iterator[None]:
        if request_id in self._running:
            raise RequestIdInUseError(request_id)
        task = asyncio.current_task()
        assert task is not None
        self._running.add(request_id)
        self._tasks.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._running.remove(request_id)
            if not self._running:
                self._idle.set()

    async def _refuse(self, error: Exception, context: Context, record: RequestRecord) -> None:
        wire = to_wire(error)
        record.code, record.reason, record.message = wire.code.name, wire.reason, wire.message
        if wire.code is grpc.StatusCode.INTERNAL:
            self._log.write_defect(wire.metadata["error_id"], error)
        await context.abort(wire.code, wire.message, wire.trailing_metadata())


async def _run_and_send(
    generation: Generation, events: EventStream, context: Context, record: RequestRecord
) -> None:
    # By themselves: they would go with the first event, and gRPC takes no status, an error's
    # say, while they are on their way.
    await context.send_initial_metadata(())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(generation.run())
        async for event in events:
            await context.write(event)
            # Of an image in chunks the `image` event is but the announcement.
            record.images_sent += bool(event.image.data) or event.image_chunk.last


def _draining() -> UnavailableError:
    return UnavailableError("DRAINING", "the server is shutting down", RETRY_AFTER_S)


def _note_departure(context: Context, record: RequestRecord) -> None:
    left_s, timeout_s = context.time_remaining(), record.timeout_s
    late = left_s is not None and timeout_s is not None and left_s <= DEADLINE_ROUNDING * timeout_s
    record.code = "DEADLINE_EXCEEDED" if late else "CANCELLED"


def _first(error: Exception) -> Exception:
    """Return the first error of a task group; the others are its cancelled siblings'."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _note_parameters(record: RequestRecord, parameters: GenerationParameters) -> None:
    record.request_id = parameters.request_id
    record.model = parameters.model.name
    record.image_count = parameters.image_count
    record.num_inference_steps = parameters.num_inference_steps
    record.width_px, record.height_px = parameters.width_px, parameters.height_px
    record.guidance_scale = parameters.guidance_scale
    record.seed = parameters.seed


def _note_bill(record: RequestRecord, generation: Generation, rows_per_image: int) -> None:
    bill = generation.bill
    record.queue_s = bill.queue_duration.ToTimedelta().total_seconds()
    record.text_encode_s = bill.text_encode_duration.ToTimedelta().total_seconds()
    record.unet_rows = rows_per_image * sum(len(image.steps) for image in bill.images)
    record.retries = generation.retries
