"""Models that come and go while the server runs, as the Gateway asks for it."""

from collections.abc import Sequence
from typing import NoReturn, Protocol

from leyden_server.errors import ModelsManagedError
from leyden_server.generations.server_state import GatewayReport

__all__ = ["FixedModels", "ModelControl"]


class ModelControl(Protocol):
    """Loads and unloads models of the server, at all of its Gateways.

    Whoever leaves a call does not stop what it has begun, and whoever asks for the same meanwhile
    joins it.
    """

    async def refresh(self) -> None:
        """Look whether the repository has changed, and tell the catalog."""

    async def load(self, name: str) -> None:
        """Return once a model is ready, as its files are now.

        A model that is ready and whose files have changed is loaded anew beside the old one and
        takes over; one whose files have not is left alone.

        Raises:
            ModelNotFoundError: the repository has no such model.
            ModelLoadError: it cannot be loaded; what was begun is taken back.
            NoResourcesError: no replica of a stage can be placed.
            ModelsManagedError: others own what runs.

        """

    async def unload(self, name: str) -> None:
        """Return once a model's stages are gone; at once where it is not loaded.

        New requests are refused at once, and what was admitted finishes within the drain.

        Raises:
            ModelNotFoundError: the repository has no such model, and none is loaded.
            ModelsManagedError: others own what runs.

        """

    async def other_gateways(self) -> Sequence[GatewayReport]:
        """Return what the server's other Gateways last said of themselves, as far as is known."""


class FixedModels:
    """The models of a server whose applications others own: they stay as they are."""

    async def refresh(self) -> None:
        """Nothing changes."""

    async def other_gateways(self) -> Sequence[GatewayReport]:
        """Return nothing: they are not known."""
        return ()

    async def load(self, name: str) -> NoReturn:
        """Refuse."""
        del name
        raise ModelsManagedError

    async def unload(self, name: str) -> NoReturn:
        """Refuse."""
        del name
        raise ModelsManagedError
