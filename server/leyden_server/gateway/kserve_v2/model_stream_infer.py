"""ModelStreamInfer: many requests on one stream, side by side, each answered as it goes.

One task reads requests and begins a task for each; the handler's own writes, one response at a
time, since only it may (`gateway/writing.py`). Whoever has a response waits until it is written,
so a slow reader is felt by the generations' logs, which are bounded, and by nothing else.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from leyden_server.config import GatewayConfig
from leyden_server.errors import OverloadedError, ReaderTooSlowError, RequestError
from leyden_server.gateway.answering import caller_of, departure_code
from leyden_server.gateway.kserve_v2.answering import end_stream
from leyden_server.gateway.kserve_v2.asking import ask, until_deadline
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.response_notes import ResponseNotes
from leyden_server.gateway.kserve_v2.rows import Rows
from leyden_server.gateway.kserve_v2.shared_memory import HeldRegions, SharedMemory
from leyden_server.gateway.kserve_v2.signature import PROTOCOL
from leyden_server.gateway.kserve_v2.streamed_request import StreamedRequest, failure
from leyden_server.gateway.parsing import parse
from leyden_server.gateway.writing import Writer
from leyden_server.generations.home import Caller
from leyden_server.generations.registry import Generations

__all__ = ["ModelStreamInfer"]

METHOD = "inference.GRPCInferenceService/ModelStreamInfer"

STATUS_HEADER = ("triton_grpc_error", "true")
"""Metadata by which a client asks for an error to be the stream's status and its end."""

RETRY_AFTER_S = 1.0
"""When to come back to a stream that has too many requests in flight."""

EOF: Any = vars(grpc.aio)["EOF"]  # grpc-stubs do not know it

Context = grpc.aio.ServicerContext[bytes, Any]


class ModelStreamInfer:
    """Serves ModelStreamInfer."""

    def __init__(
        self, generations: Generations, memory: SharedMemory, config: GatewayConfig
    ) -> None:
        self._generations = generations
        self._memory = memory
        self._config = config

    async def model_stream_infer(self, _: object, context: Context) -> None:
        """Answer the requests of a stream until its client has sent the last one, or leaves."""
        stream = _Stream(context, self._generations, self._memory, self._config)
        try:
            await stream.serve()
        except Exception as error:  # noqa: BLE001 - the table maps every one
            end_stream(self._generations.known(error), context)


class _Stream:
    """One stream: what is read from it, what runs for it, and what is to be written."""

    def __init__(
        self,
        context: Context,
        generations: Generations,
        memory: SharedMemory,
        config: GatewayConfig,
    ) -> None:
        self._context = context
        self._generations = generations
        self._memory = memory
        self._config = config
        self._answering: set[asyncio.Task[None]] = set()
        self._outbox: asyncio.Queue[tuple[bytes, asyncio.Future[None]] | None] = asyncio.Queue()
        """What waits to be written, with whom to tell; None: nothing more will come."""
        self._ends_with_errors = STATUS_HEADER in {
            (key, str(value).lower()) for key, value in context.invocation_metadata() or ()
        }
        self._ends_as: RequestError | None = None
        """The failed request's error that is the stream's end; None: there is none."""
        self._sent_away: ReaderTooSlowError | None = None
        """Why the client was sent away; None: it was not."""

    async def serve(self) -> None:
        """Return when all is answered; raises the error that is to end the stream."""
        reading = asyncio.create_task(self._read())
        try:
            await self._write()
        except ReaderTooSlowError as error:
            self._sent_away = error
            raise
        finally:
            # Whatever the end was: nobody waits for what is left, and its rows are freed.
            for task in (reading, *self._answering):
                task.cancel()
            await asyncio.gather(reading, *self._answering, return_exceptions=True)
        await reading  # a defect in it

    async def _write(self) -> None:
        has_begun = False
        with Writer(self._context, self._config.write_timeout_s) as writer:
            async for message, written in self._outgoing():
                if not has_begun:
                    # By themselves: a first write that brings them along cannot be broken off.
                    await self._context.send_initial_metadata(())
                    has_begun = True
                await writer.write(message)
                self._generations.sent(PROTOCOL, len(message))
                if not written.done():  # who waited for it may have been cancelled
                    written.set_result(None)
        if self._ends_as is not None:
            raise self._ends_as

    async def _outgoing(self) -> AsyncIterator[tuple[bytes, asyncio.Future[None]]]:
        while (item := await self._outbox.get()) is not None:
            yield item

    async def _read(self) -> None:
        """Begin a task for each request; at the last one, wait for what is in flight."""
        try:
            while (data := await self._context.read()) is not EOF:
                task = asyncio.create_task(self._answer(data))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
                if len(self._answering) >= 2 * self._config.max_stream_requests:
                    # Refusals too have to be taken by the client before it is heard again.
                    await asyncio.wait(self._answering, return_when=asyncio.FIRST_COMPLETED)
            # A client that has sent its last request waits for the answers to all of them.
            while self._answering:
                await asyncio.wait(self._answering)
        finally:
            self._outbox.put_nowait(None)

    async def _answer(self, data: bytes) -> None:
        caller = caller_of(self._context, METHOD)
        request = pb.ModelInferRequest()
        try:
            try:
                request = parse(pb.ModelInferRequest, data)
                self._require_room()
            except RequestError as error:
                caller.request_id = request.id
                self._generations.turned_away(caller, error, request.model_name)
                raise
            with self._memory.hold(caller.peer) as held:
                await self._generate(request, held, caller)
        except Exception as error:  # noqa: BLE001 - the table maps every one
            await self._fail(self._generations.known(error), request)

    async def _generate(
        self, request: pb.ModelInferRequest, held: HeldRegions, caller: Caller
    ) -> None:
        call_timeout_s = caller.timeout_s
        asked = ask(request, held, caller, self._generations, self._config, streams=True)
        with Rows() as rows:
            try:
                async with until_deadline(asked):
                    await rows.start(self._generations, asked, caller)
                    notes = ResponseNotes(self._generations, asked.rows[0].model)
                    await StreamedRequest(asked, held, self._send, notes).answer(rows)
            except asyncio.CancelledError:
                left_s = self._context.time_remaining()
                rows.leave(departure_code(left_s, call_timeout_s), self._sent_away)
                raise

    async def _fail(self, error: RequestError, request: pb.ModelInferRequest) -> None:
        if not self._ends_with_errors:
            await self._send(failure(error, request))
        elif self._ends_as is None:
            self._ends_as = error
            self._outbox.put_nowait(None)

    async def _send(self, message: pb.ModelStreamInferResponse) -> None:
        """Return once a response is written."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait((message.SerializeToString(), written))
        await written

    def _require_room(self) -> None:
        most = self._config.max_stream_requests
        if len(self._answering) > most:
            raise OverloadedError(
                "STREAM_FULL",
                f"{most} requests are in flight on this stream, which is the most; wait for an "
                "answer, or open another stream",
                {"max_stream_requests": str(most)},
                RETRY_AFTER_S,
            )
