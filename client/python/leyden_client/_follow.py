"""A generation followed to its end, over as many calls as broken connections make of it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

import grpc
import grpc.aio

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_client._assemble import EventAssembler, HeaderMissingError
from leyden_client._status import error_of_call, timed_out
from leyden_client._trace_context import with_trace_context
from leyden_client.errors import (
    DeadlineExceededError,
    GenerationNotFoundError,
    ReaderTooSlowError,
    RpcError,
)
from leyden_client.events import Event

if TYPE_CHECKING:
    from leyden.v1.image_generation_service_pb2_grpc import ImageGenerationServiceAsyncStub

    Call: TypeAlias = (
        grpc.aio.UnaryStreamCall[pb.GenerateImageRequest, pb.GenerateImageResponse]
        | grpc.aio.UnaryStreamCall[pb.WatchGenerationRequest, pb.GenerateImageResponse]
    )

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

# What a connection, or a proxy, that breaks in the midst of a stream looks like; every status
# that a Leyden server gives has a reason.
_BROKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
    }
)


class Following:
    """Follows one generation: starts it if it has a request, else watches it.

    A connection that breaks after the first event is taken up again: by watching, and where
    the server does not know the generation any more, by the same request once more. What the
    server says is never tried again.
    """

    def __init__(
        self,
        images: "ImageGenerationServiceAsyncStub",
        metadata: tuple[tuple[str, str], ...],
        *,
        request_id: str,
        request: pb.GenerateImageRequest | None = None,
        id_is_ours: bool = False,
        after_event_index: int | None = None,
        reattach_s: float,
        timeout_s: float | None,
    ) -> None:
        """Prepare; `events` or `begin` starts.

        `request` is what to generate; `id_is_ours` says that its id was drawn, so that nobody
        else has it. Without a request `request_id` is watched, after `after_event_index`
        (None: from event 0). A broken connection is given up `reattach_s` seconds after its
        last event, and everything after `timeout_s` seconds (None: never).
        """
        self.request_id = request_id
        self.lingers = request is not None and request.HasField("linger_duration")
        """Whether the generation outlives its call."""
        self._images = images
        self._metadata = metadata
        self._request = request
        self._id_is_ours = id_is_ours
        self._watches = False
        self._has_begun = False
        self._after_event_index = after_event_index
        self._reattach_s = reattach_s
        self._timeout_s = timeout_s
        image_count = None if request is None else request.image_count or 1
        self._assembler = EventAssembler(request_id, image_count, after_event_index)
        self._deadline_s: float | None = None
        self._broken_since_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events, none twice, the `Summary` last.

        Raises `RpcError` and `ProtocolError`.
        """
        if self._timeout_s is not None:
            self._deadline_s = _now_s() + self._timeout_s
        call = self._watch() if self._request is None else self._generate(self._request)
        while True:
            try:
                try:
                    async for response in call:
                        self._connected()
                        event = self._assembler.add(response)
                        if event is not None:
                            yield event
                finally:
                    call.cancel()
            except HeaderMissingError:
                # All of it, of which only what is new is shown.
                self._assembler.start_over()
                self._after_event_index = None
                call = self._watch()
            except grpc.aio.AioRpcError as error:
                if self._assembler.is_done:
                    return  # a connection that broke after all had come
                call = await self._call_after(error)
            else:
                self._assembler.finish()
                return

    @property
    def is_known_to_be_ours(self) -> bool:
        """Whether the id can only mean this generation.

        An id that the caller chose may belong to another one, until an event says otherwise.
        """
        return self._id_is_ours or self._has_begun

    async def begin(self) -> None:
        """Start the generation and leave it at its first event, by which it is accepted."""
        async with aclosing(self.events()) as events:
            await anext(events)

    def may_go_on(self, error: BaseException) -> bool:
        """Whether the server may go on with the generation after `error` ended its following."""
        if isinstance(error, RpcError):
            # Every other status is the generation's own, or there is no server to ask.
            return isinstance(error, DeadlineExceededError | ReaderTooSlowError)
        return True

    def _connected(self) -> None:
        self._has_begun = True
        self._broken_since_s = None
        self._pause_s = _FIRST_PAUSE_S

    async def _call_after(self, error: grpc.aio.AioRpcError) -> "Call":
        """Return the call that goes on after `error`, or raise what `error` means."""
        failure = error_of_call(error)
        if self._request is not None and self._watches and _is_lost(failure):
            self._assembler.start_over()
            return self._generate(self._request)
        if isinstance(failure, DeadlineExceededError) and not failure.reason and self._timeout_s:
            # gRPC's own, whose words ("Stream removed") say little.
            raise timed_out(self._timeout_s) from error
        if failure.reason or failure.code not in _BROKEN or not self._has_begun:
            raise failure from error
        if self._broken_since_s is None:
            self._broken_since_s = _now_s()
        if _now_s() + self._pause_s >= self._broken_since_s + self._reattach_s:
            raise failure from error
        if self._timeout_s is not None and self._pause_s >= (self._remaining_s() or 0.0):
            raise timed_out(self._timeout_s) from failure
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return self._watch()

    def _generate(self, request: pb.GenerateImageRequest) -> "Call":
        self._watches = False
        return self._images.GenerateImage(
            request, timeout=self._remaining_s(), metadata=with_trace_context(self._metadata)
        )

    def _watch(self) -> "Call":
        self._watches = True
        last_index = self._assembler.last_index
        request = pb.WatchGenerationRequest(
            request_id=self.request_id,
            after_event_index=self._after_event_index if last_index is None else last_index,
        )
        return self._images.WatchGeneration(
            request, timeout=self._remaining_s(), metadata=with_trace_context(self._metadata)
        )

    def _remaining_s(self) -> float | None:
        return None if self._deadline_s is None else max(0.0, self._deadline_s - _now_s())


def _is_lost(failure: RpcError) -> bool:
    """Whether the server knows the generation no more, or ended it since nobody watched it."""
    left_alone = (
        failure.code is grpc.StatusCode.CANCELLED
        and failure.reason not in {"", "CANCELLED_BY_REQUEST"}
    )  # fmt: skip
    return left_alone or isinstance(failure, GenerationNotFoundError)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
