"""Calls over Connect and gRPC-Web: what a handler that knows no transport is to connectrpc.

connectrpc (0.13) reads the request, asks a generator for messages, and frames them. It cancels the
generator where its client leaves or its deadline passes, wherever that waits. A handler is a task
of its own that writes: each message waits until the one before is sent, so that a slow reader is
felt by the event logs, which are bounded.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import Endpoint
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from protobuf.wkt import Any as AnyMessage

from leyden_server.errors import RequestError
from leyden_server.gateway.access import Access
from leyden_server.gateway.call import Call, Metadata
from leyden_server.gateway.parsing import Body, JsonBody
from leyden_server.gateway.status import DETAILS_KEY, WireStatus, to_wire
from leyden_server.gateway.web.exchange import current_exchange
from leyden_server.generations.account import Account

__all__ = ["CODECS", "ConnectCall", "stream_endpoint", "unary_endpoint"]

StreamHandler: TypeAlias = Callable[[Body, Call], Awaitable[None]]
UnaryHandler: TypeAlias = Callable[[Body, Call], Awaitable[bytes]]
AnyContext: TypeAlias = RequestContext[Any, Any]

GRPC_WEB = "application/grpc-web"

CODES: dict[grpc.StatusCode, Code] = {
    code: Code("canceled" if code is grpc.StatusCode.CANCELLED else code.name.lower())
    for code in grpc.StatusCode
    if code is not grpc.StatusCode.OK
}
"""Connect has gRPC's codes, and spells one of them otherwise."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A message in binary form, and what it is of."""

    kind: type[Message]
    data: bytes


class _BinaryCodec(Codec[Any, Any]):
    """Leaves bytes as they are: the handlers parse them, and say what is wrong with them."""

    def name(self) -> str:
        return "proto"

    def encode(self, message: Answer) -> bytes:
        return message.data

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Body:
        del message_class
        return bytes(data)


class _JsonCodec(Codec[Any, Any]):
    """The same for protobuf's JSON form."""

    def name(self) -> str:
        return "json"

    def encode(self, message: Answer) -> bytes:
        return json_format.MessageToJson(
            message.kind.FromString(message.data), indent=None
        ).encode()

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Body:
        del message_class
        return JsonBody(data)


CODECS: tuple[Codec[Any, Any], ...] = (_BinaryCodec(), _JsonCodec())


class ConnectCall(Call):
    """A call of connectrpc; to be made in the task of its request."""

    def __init__(self, method: str, context: AnyContext, account: Account) -> None:
        """Take what came with it; `method` is "package.Service/Method"."""
        metadata = dict(context.request_headers.allitems())
        is_web = metadata.get("content-type", "").startswith(GRPC_WEB)
        exchange = current_exchange.get()
        super().__init__(
            method, exchange.peer, metadata, account, "grpc-web" if is_web else "connect"
        )
        self._loop = asyncio.get_running_loop()
        timeout_ms = context.timeout_ms
        self._deadline_s = None if timeout_ms is None else exchange.began_s + timeout_ms / 1000
        self._message: bytes | None = None
        self._arrived = asyncio.Event()
        self._sent: asyncio.Future[None] | None = None

    def time_remaining(self) -> float | None:
        """Return how many seconds are left until its deadline."""
        return None if self._deadline_s is None else max(0.0, self._deadline_s - self._loop.time())

    async def begin(self, metadata: Metadata = ()) -> None:
        """Do nothing: headers go out with the first message, which follows at once."""

    async def write(self, message: bytes) -> None:
        """Hand a message over and wait until it is sent."""
        self._sent = self._loop.create_future()
        self._message = message
        self._arrived.set()
        await self._sent

    async def messages(self, handling: "asyncio.Task[None]") -> AsyncGenerator[bytes]:
        """Yield what the handler writes until it ends; then raise what it raised."""
        handling.add_done_callback(lambda _: self._arrived.set())
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                if self._message is None:
                    break
                message, self._message = self._message, None
                yield message
                assert self._sent is not None
                self._sent.set_result(None)
            await handling
        finally:
            await self._end(handling)

    async def _end(self, handling: "asyncio.Task[None]") -> None:
        """See that nothing works on for a client that is not there any more."""
        if handling.done():
            return
        broken = current_exchange.get().broken
        if broken is not None and self._sent is not None and not self._sent.done():
            self._sent.set_exception(broken)  # the handler is told why
        else:
            handling.cancel()
        await asyncio.wait([handling])


def stream_endpoint(
    method: str, kinds: tuple[type[Message], type[Message]], handle: StreamHandler, access: Access
) -> tuple[str, Any]:
    """Return path and endpoint of a method that answers one request by a stream.

    `method` is "package.Service/Method", `kinds` are those of its request and its responses.
    """

    async def answer(data: Body, context: AnyContext) -> AsyncGenerator[Answer]:
        with _Entered(method, context, access) as call:
            handling = asyncio.ensure_future(handle(data, call))
            async for message in call.messages(handling):
                yield Answer(kinds[1], message)
            _raise_failure(call.status)

    return f"/{method}", Endpoint.server_stream(
        _info(method, kinds, StreamType.SERVER_STREAM), answer
    )


def unary_endpoint(
    method: str, kinds: tuple[type[Message], type[Message]], handle: UnaryHandler, access: Access
) -> tuple[str, Any]:
    """Return path and endpoint of a method that answers by one message."""

    async def answer(data: Body, context: AnyContext) -> Answer:
        with _Entered(method, context, access) as call:
            message = await handle(data, call)
            _raise_failure(call.status)
            return Answer(kinds[1], message)

    return f"/{method}", Endpoint.unary(_info(method, kinds, StreamType.UNARY), answer)


class _Entered:
    """A call that is let in, as a context manager; what refuses it is told in connectrpc's way."""

    def __init__(self, method: str, context: AnyContext, access: Access) -> None:
        self._method = method
        self._context = context
        self._access = access
        self._leave: Callable[[], None] = lambda: None

    def __enter__(self) -> ConnectCall:
        exchange = current_exchange.get()
        try:
            account = self._access.account(self._method, exchange.headers, exchange.peer)
            self._leave = self._access.enter(account, exchange.peer)
        except RequestError as error:
            raise _connect_error(to_wire(error).status()) from error
        return ConnectCall(self._method, self._context, account)

    def __exit__(self, *_error: object) -> None:
        self._leave()


def _info(
    method: str, kinds: tuple[type[Message], type[Message]], stream_type: StreamType
) -> MethodInfo[Any, Any]:
    service, _, name = method.partition("/")
    # Never GET: a link that somebody follows must not cost anything.
    return MethodInfo(
        name=name,
        service_name=service,
        input=kinds[0],
        output=kinds[1],
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=stream_type,
    )


def _raise_failure(status: WireStatus | None) -> None:
    if status is not None and status.code is not grpc.StatusCode.OK:
        raise _connect_error(status)


def _connect_error(status: WireStatus) -> ConnectError:
    """Return a status, with its details, as connectrpc takes it."""
    packed = dict(status.trailing_metadata).get(DETAILS_KEY, b"")
    details = Status.FromString(packed).details if isinstance(packed, bytes) else []
    return ConnectError(
        CODES[status.code],
        status.message,
        [ErrorDetail(AnyMessage(type_url=any_.type_url, value=any_.value)) for any_ in details],
    )
