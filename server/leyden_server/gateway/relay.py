"""Passing a call on to another Gateway, which owns what it is about.

Bytes go through as they are: the request, each message, the status, its text, and the
metadata on both sides. So nothing here knows a protocol, and the handlers that relay have
no serializer for their responses.
"""

from collections.abc import Sequence
from typing import Any

import grpc

from leyden_server.gateway.status import DETAILS_KEY
from leyden_server.gateway.writing import Writer, end

__all__ = ["PeerGoneError", "relay_stream", "relay_unary"]

Context = grpc.aio.ServicerContext[Any, bytes]
Metadata = Sequence[tuple[str, str | bytes]]


class PeerGoneError(Exception):
    """The other Gateway cannot be reached, or died in the middle of the call.

    Whoever relays catches it. `relayed_messages` are those that the client has had by then.
    """

    def __init__(self, text: str, relayed_messages: int) -> None:
        super().__init__(text, relayed_messages)
        self.text = text
        self.relayed_messages = relayed_messages

    def __str__(self) -> str:
        return f"the Gateway that owns the call is gone: {self.text}"


async def relay_stream(
    channel: grpc.aio.Channel,
    method: str,
    request: bytes,
    context: Context,
    metadata: Metadata,
    *,
    write_timeout_s: float,
) -> None:
    """Call `method` ("/package.Service/Method") there and send its stream to the client here.

    The handler must return right after: the status is set. The call there has the deadline of
    the call here, and ends with it: when the client leaves (CancelledError) and when it reads
    no more (`ReaderTooSlowError`, see `writing.Writer`). Raises `PeerGoneError`.
    """
    send = channel.unary_stream(method, None, None)
    call = send(request, timeout=context.time_remaining(), metadata=tuple(metadata))
    relayed = 0
    try:
        initial = await call.initial_metadata()
        if not call.done():  # A refusal has none of its own, which clients that retry look at.
            await context.send_initial_metadata(_pairs(initial))
        with Writer(context, write_timeout_s) as writer:
            async for message in call:
                await writer.write(message)
                relayed += 1
    except grpc.aio.AioRpcError as error:
        _raise_if_gone(error, relayed)
    finally:
        call.cancel()
    trailing = _pairs(await call.trailing_metadata())
    end(context, await call.code(), await call.details(), trailing)


async def relay_unary(
    channel: grpc.aio.Channel,
    method: str,
    request: bytes,
    context: Context,
    metadata: Metadata,
) -> bytes:
    """Call `method` there and return its answer; end the call here as that one ended.

    Raises gRPC's AbortError where the call there failed, and `PeerGoneError`.
    """
    send = channel.unary_unary(method, None, None)
    call = send(request, timeout=context.time_remaining(), metadata=tuple(metadata))
    try:
        answer: bytes = await call
    except grpc.aio.AioRpcError as error:
        _raise_if_gone(error, 0)
        trailing = _pairs(error.trailing_metadata())
        await context.abort(error.code(), error.details() or "", trailing)
    context.set_trailing_metadata(_pairs(await call.trailing_metadata()))
    return answer


def _raise_if_gone(error: grpc.aio.AioRpcError, relayed: int) -> None:
    """Tell a Gateway that is gone from one that says UNAVAILABLE, with details, of a stage."""
    details = dict(_pairs(error.trailing_metadata()))
    if error.code() is grpc.StatusCode.UNAVAILABLE and DETAILS_KEY not in details:
        raise PeerGoneError(error.details() or "", relayed) from error


def _pairs(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Return grpc.aio's Metadata as the tuple that its own contexts ask for."""
    return tuple((key, value) for key, value in metadata or ())
