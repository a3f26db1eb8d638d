"""Which Gateway has a generation: needed where a server has several."""

import uuid
from typing import Protocol

__all__ = ["Directory", "OnlyHere"]


class Directory(Protocol):
    """Names of generations and who owns them, over all Gateways of a server.

    Where there are API keys, a name is `KEY_ID/REQUEST_ID`; `*/REQUEST_ID` asks for the owner of
    one of that name and any key.
    """

    async def ready(self) -> None:
        """Return once it answers, however long it takes to start."""

    def draw_name(self) -> str:
        """Return a new name, which is ours without a claim."""

    async def claim(self, request_id: str) -> str | None:
        """Take a name; return None where it is ours now, else the owner's peer address."""

    async def owner(self, request_id: str) -> str | None:
        """Return the peer address of the other Gateway that owns a name; None: none does."""

    def forget(self, request_id: str) -> None:
        """Give a name back that was claimed; returns at once, and may take a second."""

    async def close(self) -> None:
        """Leave the directory with all that is ours."""


class OnlyHere:
    """The directory of a server with one Gateway: nobody else owns anything."""

    async def ready(self) -> None:
        """Nothing has to start."""

    def draw_name(self) -> str:
        """Return a new name."""
        return str(uuid.uuid4())

    async def claim(self, request_id: str) -> str | None:
        """Take a name: nobody else can have it."""
        del request_id
        return None

    async def owner(self, request_id: str) -> str | None:
        """Return None: nobody else owns anything."""
        del request_id
        return None

    def forget(self, request_id: str) -> None:
        """Nothing to give back."""

    async def close(self) -> None:
        """Nothing to leave."""
