"""The other Gateways of the server: calls that are theirs are handed on to them, as bytes."""

from typing import Any

import grpc

__all__ = ["Peers"]


class Peers:
    """Channels to the other Gateways, made when they are needed."""

    def __init__(self, token: str = "") -> None:
        """`token` is the secret by which Gateways know each other."""
        self._token = token
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def stream(
        self, address: str, service: str, method: str, data: bytes, context: Any
    ) -> None:
        """Answer a streaming call by what the Gateway at `address` answers."""
        raise NotImplementedError

    async def unary(
        self, address: str, service: str, method: str, data: bytes, context: Any
    ) -> bytes:
        """Answer a call by what the Gateway at `address` answers."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close(None)
