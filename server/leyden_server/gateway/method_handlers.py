"""Methods with one request, whose handlers also see a call that carries none.

grpc.aio's own (`unary_unary_rpc_method_handler` and `unary_stream_…`) wait for the request
themselves. A call that ends its half before a whole message has come, as a broken client or
proxy does, gets no answer at all then, and waits for its deadline. On the wire a method with
one request is a stream of one, so that is what these are towards gRPC.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from leyden_server.errors import NoRequestError
from leyden_server.gateway.access import count_connection
from leyden_server.gateway.status import to_wire

__all__ = ["stream_stream", "unary_stream", "unary_unary"]

Context = grpc.aio.ServicerContext[Any, Any]
Serializer = Callable[[Any], bytes]

Refused = Callable[[Context, NoRequestError], None]
"""Is told of a call that carried no request, before it is answered."""


def _tell_nobody(context: Context, error: NoRequestError) -> None:
    """Do nothing: the methods that no log has."""


def unary_stream(
    handle: Callable[[bytes, Context], Awaitable[None]],
    serializer: Serializer | None = None,
    *,
    refused: Refused = _tell_nobody,
) -> "grpc.RpcMethodHandler[bytes, Any]":
    """Return the method whose handler takes the request's bytes and writes to the context."""

    async def handle_stream(_: object, context: Context) -> None:
        await handle(await _request(context, refused), context)

    return grpc.stream_stream_rpc_method_handler(handle_stream, response_serializer=serializer)


def unary_unary(
    handle: Callable[[bytes, Context], Awaitable[Any]],
    serializer: Serializer | None = None,
    *,
    refused: Refused = _tell_nobody,
) -> "grpc.RpcMethodHandler[bytes, Any]":
    """Return the method whose handler takes the request's bytes and returns the answer."""

    async def handle_unary(_: object, context: Context) -> Any:
        return await handle(await _request(context, refused), context)

    return grpc.stream_unary_rpc_method_handler(handle_unary, response_serializer=serializer)


def stream_stream(
    handle: Callable[[Any, Context], Awaitable[None]],
) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return the method whose handler reads requests' bytes and writes to the context."""

    async def handle_stream(requests: Any, context: Context) -> None:
        await count_connection(context)
        await handle(requests, context)

    return grpc.stream_stream_rpc_method_handler(handle_stream)


async def _request(context: Context, refused: Refused) -> bytes:
    """Receive the one request; without one, end the call as INVALID_ARGUMENT."""
    await count_connection(context)
    request = await context.read()
    if not isinstance(request, bytes):  # grpc.aio.EOF
        error = NoRequestError()
        refused(context, error)
        wire = to_wire(error)
        await context.abort(wire.code, wire.message, wire.trailing_metadata())
    return request
