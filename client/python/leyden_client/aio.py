"""The client for asyncio, and the only implementation of the calls."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
import grpc.aio
from google.protobuf import empty_pb2, wrappers_pb2

from leyden.v1 import (
    image_generation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from leyden_client import _wire
from leyden_client._assemble import EventAssembler, GenerationCollector
from leyden_client._version import __version__
from leyden_client.errors import UnavailableError, closed_while_running, error_of_call
from leyden_client.events import Event, Generation
from leyden_client.models import Model
from leyden_client.options import GenerateOptions, build_request

DEFAULT_TARGET = "127.0.0.1:8001"

_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.primary_user_agent", f"leyden-python/{__version__}"),
    # A server that vanished is noticed within a minute. Leyden's Gateway allows a
    # ping every 10 s; a gRPC server that is not told so refuses under 5 minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)

# The numbers of grpc.health.v1.HealthCheckResponse; its package is not among the
# client's dependencies.
_SERVING = 1
_FIRST_REWATCH_S = 0.05
_LONGEST_REWATCH_S = 2.0


class AsyncClient:
    """Client of one Leyden server, for asyncio.

    Make it, use it and close it in one running event loop:

        async with AsyncClient() as client:
            async for event in client.stream_image("a lighthouse at dusk"):
                ...

    Every call raises an error of `leyden_client.errors` where the server refuses
    or fails, and `RuntimeError` once the client is closed. Cancelling the task
    that waits cancels the call on the server.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Connect lazily to `target` (host:port, or any gRPC name).

        `credentials` turns on TLS; `metadata` goes with every call (an
        authorization, say); `channel_options` are gRPC channel arguments and win
        over this client's own.
        """
        options = (*_CHANNEL_OPTIONS, *channel_options)
        self._target = target
        self._metadata = tuple(metadata)
        self._closed = False
        self._channel = (
            grpc.aio.insecure_channel(target, options=options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=options)
        )
        self._images = image_generation_service_pb2_grpc.ImageGenerationServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._watch_health = self._channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            # HealthCheckRequest for the whole server has no field set, and the
            # only field of HealthCheckResponse is an enum numbered 1: on the wire
            # they are these two well-known types.
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=wrappers_pb2.Int32Value.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; a call that still runs ends with `GenerationCancelledError`."""
        self._closed = True
        await self._channel.close(grace=None)

    async def stream_image(
        self, prompt: str, *, timeout_s: float | None = None, **options: Unpack[GenerateOptions]
    ) -> AsyncGenerator[Event, None]:
        """Generate images and yield each event as it comes, the `Summary` last.

        Leaving the iteration (`aclose`, a `break`, cancellation) cancels the
        generation on the server. After a `break` that happens as soon as the
        iterator is dropped; `contextlib.aclosing` makes it certain.

        `timeout_s` is the deadline of the whole in seconds; None: none.
        `options` are those of `GenerateOptions`.

        Raises `RpcError` (its subclasses say what happened), `ProtocolError`, and
        `ValueError` for an option that cannot be put on the wire.
        """
        request = build_request(prompt, **options)
        assembler = EventAssembler(request.image_count or 1)
        with self._typed_errors():
            call = self._images.GenerateImage(request, timeout=timeout_s, metadata=self._metadata)
            try:
                async for response in call:
                    event = assembler.add(response)
                    if event is not None:
                        yield event
            finally:
                call.cancel()
        assembler.finish()

    async def generate_image(
        self,
        prompt: str,
        *,
        on_event: Callable[[Event], None] | None = None,
        timeout_s: float | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation:
        """Generate images and return them with their summary.

        `on_event` is called with each event as it comes; the rest is as in
        `stream_image`.
        """
        collector = GenerationCollector()
        async with aclosing(self.stream_image(prompt, timeout_s=timeout_s, **options)) as events:
            async for event in events:
                collector.add(event)
                if on_event is not None:
                    on_event(event)
        return collector.generation()

    async def list_models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Return the server's models, by name, the loaded and the others.

        `timeout_s` is in seconds; None: none. Raises `RpcError`.
        """
        with self._typed_errors():
            response = await self._models.ListModels(
                model_service_pb2.ListModelsRequest(), timeout=timeout_s, metadata=self._metadata
            )
        return tuple(_wire.model(model) for model in response.models)

    async def get_model(self, name: str = "", *, timeout_s: float | None = None) -> Model:
        """Return the model of that name; empty: the server's default model.

        `timeout_s` is in seconds; None: none. Raises `NotFoundError` and the
        other kinds of `RpcError`.
        """
        with self._typed_errors():
            response = await self._models.GetModel(
                model_service_pb2.GetModelRequest(model=name),
                timeout=timeout_s,
                metadata=self._metadata,
            )
        return _wire.model(response.model)

    async def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Wait until the server says that it serves.

        A server that is not there yet, loads or drains is waited for. Raises
        `DeadlineExceededError` after `timeout_s` seconds (None: never), and
        `RpcError` with code UNIMPLEMENTED where no health service answers.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        pause_s = _FIRST_REWATCH_S
        while True:
            remaining_s = None if deadline is None else max(0.0, deadline - loop.time())
            try:
                if await self._serves(remaining_s):
                    return
            except UnavailableError:
                # The connection, or the server behind a proxy, went while it was
                # watched: it may come back.
                pass
            # Whatever ends watches at once must not be flooded with new ones.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_REWATCH_S)

    async def _serves(self, timeout_s: float | None) -> bool:
        """Watch the health until it is SERVING (True), or the server ends the watch (False)."""
        with self._typed_errors():
            call = self._watch_health(
                empty_pb2.Empty(), timeout=timeout_s, metadata=self._metadata, wait_for_ready=True
            )
            try:
                async for status in call:
                    if status.value == _SERVING:
                        return True
            finally:
                call.cancel()
        return False

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        if self._closed:
            raise RuntimeError("the client is closed")
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            # grpc.aio cancels the waiter when its channel is closed, though
            # nobody asked for the end of its task.
            raise closed_while_running() from None
