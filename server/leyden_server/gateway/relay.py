"""Passing a call on to another Gateway, which owns what it is about.

Bytes go through as they are: the request, each message, the status, its text, and the
metadata on both sides. So nothing here knows a protocol, nor what the client speaks.
"""

from typing import Any

import grpc

from leyden_server.gateway.call import Call, Metadata
from leyden_server.gateway.status import DETAILS_KEY, WireStatus

__all__ = ["PeerGoneError", "relay_stream", "relay_unary"]


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
    channel: grpc.aio.Channel, request: bytes, call: Call, metadata: Metadata
) -> None:
    """Call the same method there and send its stream to the client here.

    The handler must return right after: the call has ended. The call there has the deadline of
    the call here, and ends with it: when the client leaves (CancelledError) and when it reads
    no more (`ReaderTooSlowError`). Raises `PeerGoneError`.
    """
    send = channel.unary_stream(f"/{call.method}", None, None)
    far = send(request, timeout=call.time_remaining(), metadata=tuple(metadata))
    relayed = 0
    try:
        initial = await far.initial_metadata()
        if not far.done():  # A refusal has none of its own, which clients that retry look at.
            await call.begin(_pairs(initial))
        async for message in far:
            await call.write(message)
            relayed += 1
    except grpc.aio.AioRpcError as error:
        _raise_if_gone(error, relayed)
    finally:
        far.cancel()
    trailing = _pairs(await far.trailing_metadata())
    call.end(WireStatus(await far.code(), await far.details() or "", trailing))


async def relay_unary(
    channel: grpc.aio.Channel, request: bytes, call: Call, metadata: Metadata
) -> bytes:
    """Call the same method there and return its answer; the call here ends as that one did.

    Raises `PeerGoneError`.
    """
    send = channel.unary_unary(f"/{call.method}", None, None)
    far = send(request, timeout=call.time_remaining(), metadata=tuple(metadata))
    try:
        answer: bytes = await far
    except grpc.aio.AioRpcError as error:
        _raise_if_gone(error, 0)
        trailing = _pairs(error.trailing_metadata())
        call.end(WireStatus(error.code(), error.details() or "", trailing))
        return b""
    call.end(WireStatus(grpc.StatusCode.OK, "", _pairs(await far.trailing_metadata())))
    return answer


def _raise_if_gone(error: grpc.aio.AioRpcError, relayed: int) -> None:
    """Tell a Gateway that is gone from one that says UNAVAILABLE, with details, of a stage."""
    details = dict(_pairs(error.trailing_metadata()))
    if error.code() is grpc.StatusCode.UNAVAILABLE and DETAILS_KEY not in details:
        raise PeerGoneError(error.details() or "", relayed) from error


def _pairs(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Return grpc.aio's Metadata as the tuple that its own contexts ask for."""
    return tuple((key, value) for key, value in metadata or ())
