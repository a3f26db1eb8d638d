"""Calls over gRPC: what a handler that knows no transport is to the server of grpc.aio."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from leyden_server.errors import NoRequestError
from leyden_server.gateway.access import account_of
from leyden_server.gateway.call import Call, Metadata
from leyden_server.gateway.method_handlers import unary_stream, unary_unary
from leyden_server.gateway.writing import Writer, end

__all__ = ["GrpcCall", "stream_method", "unary_method"]

Context = grpc.aio.ServicerContext[bytes, Any]

StreamHandler = Callable[[bytes, Call], Awaitable[None]]
UnaryHandler = Callable[[bytes, Call], Awaitable[bytes]]
Refused = Callable[[Call, NoRequestError], None]


class GrpcCall(Call):
    """A call of grpc.aio."""

    def __init__(self, context: Context, method: str, writer: Writer | None = None) -> None:
        """`writer` is for streams; `method` is "package.Service/Method"."""
        super().__init__(
            method,
            context.peer(),
            dict(context.invocation_metadata() or ()),
            account_of(context),
            method.partition("/")[0].rpartition(".")[0],
        )
        self._context = context
        self._writer = writer

    def time_remaining(self) -> float | None:
        """Return how many seconds are left until its deadline."""
        return self._context.time_remaining()

    async def begin(self, metadata: Metadata = ()) -> None:
        """Send the initial metadata.

        By themselves, since a first write that brings them along cannot be broken off: gRPC takes
        no status afterwards (1.85).
        """
        await self._context.send_initial_metadata(tuple(metadata))

    async def write(self, message: bytes) -> None:
        """Write a message, as `writing.Writer` does."""
        assert self._writer is not None, "a unary call returns its answer"
        await self._writer.write(message)


def stream_method(
    method: str, handle: StreamHandler, write_timeout_s: float, *, refused: Refused | None = None
) -> "grpc.RpcMethodHandler[bytes, Any]":
    """Return a method that answers one request by a stream.

    `method` is "package.Service/Method"; `refused` is told of each call that carried no request.
    """

    async def answer(data: bytes, context: Context) -> None:
        with Writer(context, write_timeout_s) as writer:
            call = GrpcCall(context, method, writer)
            await handle(data, call)
        if call.status is not None:
            status = call.status
            end(context, status.code, status.message, status.trailing_metadata)

    def no_request(context: Context, error: NoRequestError) -> None:
        if refused is not None:
            refused(GrpcCall(context, method), error)

    return unary_stream(answer, refused=no_request)


def unary_method(method: str, handle: UnaryHandler) -> "grpc.RpcMethodHandler[bytes, Any]":
    """Return a method that answers one request by one message; `method` as above."""

    async def answer(data: bytes, context: Context) -> bytes:
        call = GrpcCall(context, method)
        message = await handle(data, call)
        if call.status is not None:
            status = call.status
            if status.code is not grpc.StatusCode.OK:
                await context.abort(status.code, status.message, status.trailing_metadata)
            context.set_trailing_metadata(status.trailing_metadata)
        return message

    return unary_unary(answer)
