"""The client for asyncio, and the only implementation of the calls."""

import leyden_client._grpc_import  # noqa: F401 - before anything else imports gRPC

# isort: split
import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
import grpc.aio

from leyden.v1 import (
    image_generation_service_pb2,
    image_generation_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from leyden_client import _wire
from leyden_client._collector import GenerationCollector
from leyden_client._credentials import authorization, channel_credentials
from leyden_client._follow import Following
from leyden_client._health import Health
from leyden_client._request import repeatable_request
from leyden_client._status import closed_while_running, error_of_call
from leyden_client._trace_context import with_trace_context
from leyden_client._version import __version__
from leyden_client.errors import GenerationCancelledError
from leyden_client.events import Event, Generation
from leyden_client.models import Model
from leyden_client.options import DEFAULT_TARGET, DETACHED_LINGER_S, LINGER_S, GenerateOptions
from leyden_client.security import TlsConfig
from leyden_client.server_state import ServerState

_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.primary_user_agent", f"leyden-python/{__version__}"),
    # A server that vanished is noticed within 35 s, however long a stream is silent.
    # Leyden's Gateway allows a ping every 5 s; a gRPC server that is not told so
    # refuses under 5 minutes.
    # Of these the second bounds the wait for a ping's answer, the third that of TCP for
    # an acknowledgement (grpcio 1.85).
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.http2.ping_timeout_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),  # so the next call finds no dead connection
    ("grpc.http2.max_pings_without_data", 0),
    # A server that comes back is found while a generation lingers.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

_LONGEST_CANCEL_S = 2.0
"""For how long whoever leaves a generation waits for the server to hear of it."""


class AsyncClient:
    """Client of one Leyden server, for asyncio.

    Make it, use it and close it in one running event loop:

        async with AsyncClient() as client:
            async for event in client.stream_image("a lighthouse at dusk"):
                ...

    Every call raises an error of `leyden_client.errors` where the server refuses
    or fails, and `RuntimeError` once the client is closed. Cancelling the task
    that waits cancels the call, and its generation, on the server.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: bool | TlsConfig = False,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Connect lazily to `target` (host:port, or any gRPC name).

        `tls=True` turns on TLS; a `TlsConfig` says whom to believe, and has this client's
        own certificate where the server asks for one. `api_key` goes with every call: over a
        network rather with TLS, or everybody on the way reads it.

        `credentials` are gRPC's own, in place of `tls`; `metadata` goes with every call;
        `channel_options` are gRPC channel arguments and win over this client's own.

        Raises `ValueError` where these do not go together or cannot be, and `OSError` for a
        file that cannot be read.
        """
        options = (*_CHANNEL_OPTIONS, *channel_options)
        if tls is not False and credentials is not None:
            raise ValueError("tls and credentials say the same in two ways: give one of them")
        credentials = credentials or channel_credentials(tls)
        self._target = target
        self._metadata = (*authorization(api_key), *metadata)
        self._closed = False
        self._lingering: set[Following] = set()
        self._channel = (
            grpc.aio.insecure_channel(target, options=options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=options)
        )
        self._images = image_generation_service_pb2_grpc.ImageGenerationServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._health = Health(self._channel, self._metadata, self._typed_errors)

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
        """Close the connection, and cancel the generations that were started and still run.

        Their calls end with `GenerationCancelledError`.
        """
        self._closed = True
        await asyncio.gather(*(self._cancel_left(following) for following in self._lingering))
        await self._channel.close(grace=None)

    async def stream_image(
        self, prompt: str, *, timeout_s: float | None = None, **options: Unpack[GenerateOptions]
    ) -> AsyncGenerator[Event, None]:
        """Generate images and yield each event as it comes, the `Summary` last.

        Leaving the iteration (`aclose`, a `break`, cancellation) cancels the
        generation on the server. After a `break` that happens as soon as the
        iterator is dropped; `contextlib.aclosing` makes it certain.

        A connection that breaks in the midst of it is taken up again for
        `linger_s` seconds (15 unless given; 0: not at all), and no event comes
        twice: the generation goes on meanwhile, and is watched again from where
        its events stopped. If the server does not know it any more, the same
        request, with the same `request_id` and seed, is sent again.

        `timeout_s` is the deadline of the whole in seconds; None: none. A server
        looks at a deadline only where nothing lingers. So `timeout_s` without
        `linger_s` sends a linger of 0: the server refuses at once what it cannot
        end in time and serves earlier deadlines first, and a broken connection
        runs the generation again. With both, nothing is refused early.

        `options` are those of `GenerateOptions`.

        Raises `RpcError` (its subclasses say what happened), `ProtocolError`, and
        `ValueError` for an option that cannot be put on the wire.
        """
        following = self._started(prompt, timeout_s, options)
        with self._typed_errors():
            # Where it does not linger, the end of its call is its end.
            lingers = following.lingers
            if lingers:
                self._lingering.add(following)
            try:
                async with aclosing(following.events()) as events:
                    async for event in events:
                        yield event
            except BaseException as error:
                if lingers and following.may_go_on(error) and not self._closed:
                    await self._cancel_left(following)
                raise
            finally:
                self._lingering.discard(following)

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

    async def start_image(
        self, prompt: str, *, timeout_s: float | None = None, **options: Unpack[GenerateOptions]
    ) -> str:
        """Start a generation, leave it to itself, and return its `request_id`.

        It returns once the server has accepted the request. The generation then goes on for
        `linger_s` seconds (600 unless given) without being watched, and its events are kept
        for as long after its end: `watch` gives them. `timeout_s` is the deadline of the
        acceptance alone.

        Raises `RpcError`, and `ValueError` where `linger_s` is not above 0.
        """
        linger_s = options.get("linger_s")
        if linger_s is None:
            linger_s = DETACHED_LINGER_S
        if linger_s <= 0:
            raise ValueError(f"linger_s is {linger_s}; a generation that is left needs more than 0")
        options["linger_s"] = linger_s
        following = self._started(prompt, timeout_s, options)
        with self._typed_errors():
            try:
                await following.begin()
            except BaseException as error:
                if following.may_go_on(error) and not self._closed:
                    await self._cancel_left(following)
                raise
        return following.request_id

    async def watch(
        self,
        request_id: str,
        after_event_index: int | None = None,
        *,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Watch a generation and yield its events as they come, the `Summary` last.

        Those after `after_event_index`, an `event_index` that is known already; None: all of
        them. Those of the past come without their previews. Leaving the iteration leaves the
        generation as it is. A broken connection is taken up again for 15 seconds.

        `timeout_s` is the deadline of the watching in seconds; None: none.

        Raises `GenerationNotFoundError`, `EventsExpiredError`, the error that the generation
        itself ended with, the other kinds of `RpcError`, and `ProtocolError`.
        """
        following = Following(
            self._images,
            self._metadata,
            request_id=request_id,
            after_event_index=after_event_index,
            reattach_s=LINGER_S,
            timeout_s=timeout_s,
        )
        with self._typed_errors():
            async with aclosing(following.events()) as events:
                async for event in events:
                    yield event

    async def cancel(self, request_id: str, *, timeout_s: float | None = None) -> None:
        """End a generation at once; who watches it gets `GenerationCancelledError`.

        One that has ended and is kept stays as it is. `timeout_s` is in seconds; None: none.
        Raises `GenerationNotFoundError` and the other kinds of `RpcError`.
        """
        with self._typed_errors():
            await self._cancel_generation(request_id, timeout_s)

    async def list_models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Return the server's models, by name, the loaded and the others.

        `timeout_s` is in seconds; None: none. Raises `RpcError`.
        """
        with self._typed_errors():
            response = await self._models.ListModels(
                model_service_pb2.ListModelsRequest(),
                timeout=timeout_s,
                metadata=with_trace_context(self._metadata),
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
                metadata=with_trace_context(self._metadata),
            )
        return _wire.model(response.model)

    async def load_model(self, name: str, *, timeout_s: float | None = None) -> Model:
        """Load a model, and return it once it is ready.

        One that is ready is loaded anew where its files have changed, and left alone where not.
        Leaving the call, or its `timeout_s` in seconds (None: none), does not stop the load.

        Raises `NotFoundError`, `ModelLoadError`, `NoResourcesError`, `ModelsManagedError` and the
        other kinds of `RpcError`.
        """
        with self._typed_errors():
            response = await self._models.LoadModel(
                model_service_pb2.LoadModelRequest(model=name),
                timeout=timeout_s,
                metadata=with_trace_context(self._metadata),
            )
        return _wire.model(response.model)

    async def unload_model(self, name: str, *, timeout_s: float | None = None) -> None:
        """Unload a model, and return once its stages are gone; at once where it is not loaded.

        New requests are refused from the call on, and what was accepted finishes for as long as
        the server's drain lasts. Leaving the call, or its `timeout_s` in seconds (None: none),
        does not stop it. Raises `NotFoundError`, `ModelsManagedError` and the other kinds of
        `RpcError`.
        """
        with self._typed_errors():
            await self._models.UnloadModel(
                model_service_pb2.UnloadModelRequest(model=name),
                timeout=timeout_s,
                metadata=with_trace_context(self._metadata),
            )

    async def get_server_state(self, *, timeout_s: float | None = None) -> ServerState:
        """Return what the server does now; for operators.

        `timeout_s` is in seconds; None: none. Raises `PermissionDeniedError` and the other kinds
        of `RpcError`.
        """
        with self._typed_errors():
            response = await self._models.GetServerState(
                model_service_pb2.GetServerStateRequest(),
                timeout=timeout_s,
                metadata=with_trace_context(self._metadata),
            )
        return _wire.server_state(response)

    async def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Wait until the server says that it serves.

        A server that is not there yet, loads or drains is waited for. Raises
        `DeadlineExceededError` after `timeout_s` seconds (None: never), and
        `RpcError` with code UNIMPLEMENTED where no health service answers.
        """
        await self._health.wait_until_serving(timeout_s)

    def _started(self, prompt: str, timeout_s: float | None, options: GenerateOptions) -> Following:
        """Prepare a request and its following. Raises `TypeError` and `ValueError`."""
        linger_s = options.get("linger_s")
        request = repeatable_request(prompt, options, timeout_s)
        return Following(
            self._images,
            self._metadata,
            request_id=request.request_id,
            request=request,
            id_is_ours=not options.get("request_id"),
            reattach_s=LINGER_S if linger_s is None else linger_s,
            timeout_s=timeout_s,
        )

    async def _cancel_left(self, following: Following) -> None:
        """Cancel a generation that its reader leaves; what goes wrong changes nothing more."""
        if following.is_known_to_be_ours:
            with suppress(grpc.aio.AioRpcError):
                await self._cancel_generation(following.request_id, _LONGEST_CANCEL_S)

    async def _cancel_generation(self, request_id: str, timeout_s: float | None) -> None:
        await self._images.CancelGeneration(
            image_generation_service_pb2.CancelGenerationRequest(request_id=request_id),
            timeout=timeout_s,
            metadata=with_trace_context(self._metadata),
        )

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        if self._closed:
            raise RuntimeError("the client is closed")
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from error
        except GenerationCancelledError:
            if not self._closed:
                raise
            raise closed_while_running() from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            # grpc.aio cancels the waiter when its channel is closed, though
            # nobody asked for the end of its task.
            raise closed_while_running() from None
