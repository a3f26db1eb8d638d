"""The other Gateways of the server: calls that are theirs are handed on to them, as bytes."""

from collections.abc import Mapping

import grpc

from leyden_server.errors import GenerationNotFoundError
from leyden_server.gateway.access import AUTHORIZATION
from leyden_server.gateway.call import TRACE_HEADERS, Call
from leyden_server.gateway.channel_options import PEER_OPTIONS
from leyden_server.gateway.peer_identity import PEER_NAME, PeerIdentity
from leyden_server.gateway.relay import PeerGoneError, relay_stream, relay_unary
from leyden_server.gateway.status import WireStatus

__all__ = ["Peers"]

RELAYED = ("leyden-relayed", "1")
"""Metadata of a call that another Gateway has handed on: it goes no further."""

HANDED_ON = frozenset({AUTHORIZATION, *TRACE_HEADERS})

GONE = WireStatus(grpc.StatusCode.UNAVAILABLE, "the Gateway that has this generation went away")
"""Without details, as of any server that went away."""


class Peers:
    """Channels to the other Gateways, made when they are needed."""

    def __init__(self, identity: PeerIdentity | None) -> None:
        """`identity` is what the Gateways know each other by; None: there are no others."""
        self._identity = identity
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def stream(self, address: str, data: bytes, call: Call, request_id: str) -> None:
        """Answer a streaming call by what the Gateway at `address` answers.

        `request_id` is what the call is about. Where that Gateway is gone, a generation that is
        only watched is NOT_FOUND before its first message.
        """
        if _was_relayed(call.metadata):
            call.fail(GenerationNotFoundError(request_id))
            return
        try:
            await relay_stream(self._channel(address), data, call, _headers(call.metadata))
        except PeerGoneError as gone:
            if call.method.endswith("/WatchGeneration") and gone.relayed_messages == 0:
                call.fail(GenerationNotFoundError(request_id))
            else:
                call.end(GONE)

    async def unary(self, address: str, data: bytes, call: Call, request_id: str) -> bytes:
        """Answer a call by what the Gateway at `address` answers; NOT_FOUND where it is gone."""
        if not _was_relayed(call.metadata):
            try:
                return await relay_unary(
                    self._channel(address), data, call, _headers(call.metadata)
                )
            except PeerGoneError:
                pass
        call.fail(GenerationNotFoundError(request_id))
        return b""

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close(None)

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            assert self._identity is not None, "without other Gateways nothing is theirs"
            # The name is the one in their certificate, wherever they are.
            options = (*PEER_OPTIONS, ("grpc.ssl_target_name_override", PEER_NAME))
            self._channels[address] = grpc.aio.secure_channel(
                address, self._identity.channel_credentials(), options
            )
        return self._channels[address]


def _headers(metadata: Mapping[str, str | bytes]) -> list[tuple[str, str | bytes]]:
    """Return what the owner must know: whose call it is, and whose trace it belongs to."""
    return [RELAYED, *((key, value) for key, value in metadata.items() if key in HANDED_ON)]


def _was_relayed(metadata: Mapping[str, str | bytes]) -> bool:
    return RELAYED in metadata.items()
