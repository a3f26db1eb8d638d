"""The other Gateways of the server: calls that are theirs are handed on to them, as bytes."""

from typing import Any

import grpc

from leyden_server.config import GatewayConfig
from leyden_server.errors import GenerationNotFoundError
from leyden_server.gateway.access import AUTHORIZATION
from leyden_server.gateway.answering import TRACE_HEADERS, end_stream, refuse
from leyden_server.gateway.channel_options import PEER_OPTIONS
from leyden_server.gateway.peer_identity import PEER_NAME, PeerIdentity
from leyden_server.gateway.relay import PeerGoneError, relay_stream, relay_unary
from leyden_server.gateway.writing import end

__all__ = ["Peers"]

RELAYED = ("leyden-relayed", "1")
"""Metadata of a call that another Gateway has handed on: it goes no further."""

HANDED_ON = frozenset({AUTHORIZATION, *TRACE_HEADERS})

GONE = "the Gateway that has this generation went away"

Context = grpc.aio.ServicerContext[Any, Any]


class Peers:
    """Channels to the other Gateways, made when they are needed."""

    def __init__(self, config: GatewayConfig, identity: PeerIdentity | None) -> None:
        """`identity` is what the Gateways know each other by; None: there are no others."""
        self._identity = identity
        self._write_timeout_s = config.write_timeout_s
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def stream(
        self, address: str, method: str, data: bytes, context: Context, request_id: str
    ) -> None:
        """Answer a streaming call by what the Gateway at `address` answers.

        `method` is "/package.Service/Method", and `request_id` what the call is about. Where
        that Gateway is gone the status is UNAVAILABLE without details, as of any server that
        went away; before the first message of a generation that is only watched, NOT_FOUND.
        """
        if _was_relayed(context):
            end_stream(GenerationNotFoundError(request_id), context)
            return
        try:
            await relay_stream(
                self._channel(address),
                method,
                data,
                context,
                _headers(context),
                write_timeout_s=self._write_timeout_s,
            )
        except PeerGoneError as gone:
            if method.endswith("/WatchGeneration") and gone.relayed_messages == 0:
                end_stream(GenerationNotFoundError(request_id), context)
            else:
                end(context, grpc.StatusCode.UNAVAILABLE, GONE, ())

    async def unary(
        self, address: str, method: str, data: bytes, context: Context, request_id: str
    ) -> bytes:
        """Answer a call by what the Gateway at `address` answers; NOT_FOUND where it is gone."""
        if _was_relayed(context):
            await refuse(GenerationNotFoundError(request_id), context)
        try:
            return await relay_unary(
                self._channel(address), method, data, context, _headers(context)
            )
        except PeerGoneError:
            await refuse(GenerationNotFoundError(request_id), context)

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


def _headers(context: Context) -> list[tuple[str, str | bytes]]:
    """Return what the owner must know: whose call it is, and whose trace it belongs to."""
    pairs = [(key, value) for key, value in context.invocation_metadata() or ()]
    return [RELAYED, *((k, v) for k, v in pairs if k in HANDED_ON)]


def _was_relayed(context: Context) -> bool:
    return RELAYED in [(key, value) for key, value in context.invocation_metadata() or ()]
