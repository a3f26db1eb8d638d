"""The Vae deployment: a shell around the service."""

import asyncio

from ray import serve

from leyden_server.config import VaeConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DecodedImage, DecodeRequest, ReplicaState, StageInfo
from leyden_server.stages.replica import replica_name

__all__ = ["Vae"]


@serve.deployment(name="Vae")
class Vae:
    """Decodes and encodes images for every model with one base."""

    async def __init__(self, model: ResolvedModel, config: VaeConfig) -> None:
        from leyden_server.vae.service import VaeService

        # In a thread: Serve may want the replica gone before the model is there.
        self._service = await asyncio.to_thread(VaeService, model, config, replica_name())

    async def ready(self) -> StageInfo:
        """Answer once the VAE is loaded and warmed up."""
        return await self._service.ready()

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode it."""
        return await self._service.decode(request)

    async def calls(self) -> int:
        """Return how many images this replica was asked to decode."""
        return self._service.calls

    async def tile_runs(self) -> int:
        """Return how often this replica ran the VAE for parts of a large image."""
        return self._service.tile_runs

    async def state(self) -> ReplicaState:
        """Say what the replica does now."""
        return await self._service.state()

    async def check_health(self) -> None:
        """Tell Serve whether the VAE can be relied on."""
        self._service.check_health()

    def __del__(self) -> None:
        """Stop the threads when Serve retires the replica."""
        if hasattr(self, "_service"):
            self._service.stop()
