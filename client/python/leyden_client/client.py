"""The blocking client: the asyncio client behind a portal."""

import leyden_client._grpc_import  # noqa: F401 - before anything else imports gRPC

# isort: split
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from leyden_client._collector import GenerationCollector
from leyden_client._portal import Portal
from leyden_client.aio import AsyncClient
from leyden_client.events import Event, Generation
from leyden_client.models import Model
from leyden_client.options import DEFAULT_TARGET, GenerateOptions
from leyden_client.security import TlsConfig
from leyden_client.server_state import ServerState


class Client:
    """Client of one Leyden server.

        with Client() as client:
            for event in client.stream_image("a lighthouse at dusk"):
                ...

    It may be shared between threads. Every call raises an error of
    `leyden_client.errors` where the server refuses or fails, and `RuntimeError`
    once the client is closed. Interrupting a call (Ctrl-C) cancels it, and its
    generation, on the server.
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

        async def open_client() -> AsyncClient:
            # grpc.aio binds a channel to the loop that runs when it is made.
            return AsyncClient(
                target,
                tls=tls,
                api_key=api_key,
                credentials=credentials,
                metadata=metadata,
                channel_options=channel_options,
            )

        self._portal = Portal(name="leyden-client")
        # A client that is dropped or left open at exit ends its thread too.
        self._closer = weakref.finalize(self, self._portal.close)
        try:
            self._client = self._portal.run(open_client())
        except BaseException:
            self._closer()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and cancel the generations that were started and still run.

        Their calls end with `GenerationCancelledError`.
        """
        if self._closer.alive:
            self._portal.run(self._client.close())
            self._closer()

    def stream_image(
        self, prompt: str, *, timeout_s: float | None = None, **options: Unpack[GenerateOptions]
    ) -> Generator[Event, None, None]:
        """Generate images and yield each event as it comes, the `Summary` last.

        Leaving the iteration (a `break`, its `close`, Ctrl-C, the end of the
        client's `with` block) cancels the generation on the server.

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
        self._check_open()
        return self._iterate(self._client.stream_image(prompt, timeout_s=timeout_s, **options))

    def generate_image(
        self,
        prompt: str,
        *,
        on_event: Callable[[Event], None] | None = None,
        timeout_s: float | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation:
        """Generate images and return them with their summary.

        `on_event` is called with each event as it comes, on the calling thread;
        the rest is as in `stream_image`.
        """
        collector = GenerationCollector()
        with closing(self.stream_image(prompt, timeout_s=timeout_s, **options)) as events:
            for event in events:
                collector.add(event)
                if on_event is not None:
                    on_event(event)
        return collector.generation()

    def start_image(
        self, prompt: str, *, timeout_s: float | None = None, **options: Unpack[GenerateOptions]
    ) -> str:
        """Start a generation, leave it to itself, and return its `request_id`.

        It returns once the server has accepted the request. The generation then goes on for
        `linger_s` seconds (600 unless given) without being watched, and its events are kept
        for as long after its end: `watch` gives them. `timeout_s` is the deadline of the
        acceptance alone.

        Raises `RpcError`, and `ValueError` where `linger_s` is not above 0.
        """
        self._check_open()
        return self._portal.run(self._client.start_image(prompt, timeout_s=timeout_s, **options))

    def watch(
        self,
        request_id: str,
        after_event_index: int | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Generator[Event, None, None]:
        """Watch a generation and yield its events as they come, the `Summary` last.

        Those after `after_event_index`, an `event_index` that is known already; None: all of
        them. Those of the past come without their previews. Leaving the iteration leaves the
        generation as it is. A broken connection is taken up again for 15 seconds.

        `timeout_s` is the deadline of the watching in seconds; None: none.

        Raises `GenerationNotFoundError`, `EventsExpiredError`, the error that the generation
        itself ended with, the other kinds of `RpcError`, and `ProtocolError`.
        """
        self._check_open()
        return self._iterate(self._client.watch(request_id, after_event_index, timeout_s=timeout_s))

    def cancel(self, request_id: str, *, timeout_s: float | None = None) -> None:
        """End a generation at once; who watches it gets `GenerationCancelledError`.

        One that has ended and is kept stays as it is. `timeout_s` is in seconds; None: none.
        Raises `GenerationNotFoundError` and the other kinds of `RpcError`.
        """
        self._check_open()
        self._portal.run(self._client.cancel(request_id, timeout_s=timeout_s))

    def list_models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Return the server's models, by name, the loaded and the others.

        `timeout_s` is in seconds; None: none. Raises `RpcError`.
        """
        self._check_open()
        return self._portal.run(self._client.list_models(timeout_s=timeout_s))

    def get_model(self, name: str = "", *, timeout_s: float | None = None) -> Model:
        """Return the model of that name; empty: the server's default model.

        `timeout_s` is in seconds; None: none. Raises `NotFoundError` and the
        other kinds of `RpcError`.
        """
        self._check_open()
        return self._portal.run(self._client.get_model(name, timeout_s=timeout_s))

    def load_model(self, name: str, *, timeout_s: float | None = None) -> Model:
        """Load a model, and return it once it is ready.

        One that is ready is loaded anew where its files have changed, and left alone where not.
        Leaving the call, or its `timeout_s` in seconds (None: none), does not stop the load.

        Raises `NotFoundError`, `ModelLoadError`, `NoResourcesError`, `ModelsManagedError` and the
        other kinds of `RpcError`.
        """
        self._check_open()
        return self._portal.run(self._client.load_model(name, timeout_s=timeout_s))

    def unload_model(self, name: str, *, timeout_s: float | None = None) -> None:
        """Unload a model, and return once its stages are gone; at once where it is not loaded.

        New requests are refused from the call on, and what was accepted finishes for as long as
        the server's drain lasts. Leaving the call, or its `timeout_s` in seconds (None: none),
        does not stop it. Raises `NotFoundError`, `ModelsManagedError` and the other kinds of
        `RpcError`.
        """
        self._check_open()
        self._portal.run(self._client.unload_model(name, timeout_s=timeout_s))

    def get_server_state(self, *, timeout_s: float | None = None) -> ServerState:
        """Return what the server does now; for operators.

        `timeout_s` is in seconds; None: none. Raises `PermissionDeniedError` and the other kinds
        of `RpcError`.
        """
        self._check_open()
        return self._portal.run(self._client.get_server_state(timeout_s=timeout_s))

    def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Wait until the server says that it serves.

        A server that is not there yet, loads or drains is waited for. Raises
        `DeadlineExceededError` after `timeout_s` seconds (None: never), and
        `RpcError` with code UNIMPLEMENTED where no health service answers.
        """
        self._check_open()
        self._portal.run(self._client.wait_until_ready(timeout_s))

    def _iterate(self, events: AsyncGenerator[Event, None]) -> Generator[Event, None, None]:
        # A method, so that the iteration keeps a client open that nobody else holds.
        yield from self._portal.iterate(events)

    def _check_open(self) -> None:
        if not self._closer.alive:
            raise RuntimeError("the client is closed")
