"""The Denoiser deployment: a shell around the service."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ray import serve

from leyden_server.config import DenoiserConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import (
    DenoiseEvent,
    DenoiseRequest,
    DenoiserInfo,
    EngineStats,
    ReplicaState,
)
from leyden_server.stages.replica import replica_name
from leyden_server.stages.tally import EngineTally

__all__ = ["Denoiser"]


@serve.deployment(name="Denoiser")
class Denoiser:
    """Runs the denoising loops of one model's images."""

    async def __init__(self, model: ResolvedModel, config: DenoiserConfig) -> None:
        from leyden_server.denoiser.service import DenoiseService

        # In a thread: Serve may want the replica gone before the model is there.
        self._service = await asyncio.to_thread(DenoiseService, model, config, replica_name())

    async def ready(self) -> DenoiserInfo:
        """Answer once the UNet is loaded and warmed up."""
        return await self._service.ready()

    async def denoise(self, request: DenoiseRequest) -> AsyncGenerator[tuple[DenoiseEvent, ...]]:
        """Stream one image's loop; a cancelled call frees its rows at the next step."""
        async with aclosing(self._service.denoise_together(request)) as parts:
            async for events in parts:
                yield events

    async def stats(self) -> EngineStats:
        """Return the engine's counters."""
        return await self._service.stats()

    async def tally(self) -> EngineTally | None:
        """Return what the engine owes, once the images that leave it have left."""
        return await self._service.tally()

    async def state(self) -> ReplicaState:
        """Say what the replica does now."""
        return await self._service.state()

    async def check_health(self) -> None:
        """Tell Serve whether the engine can be relied on."""
        self._service.check_health()

    def __del__(self) -> None:
        """Stop the engine when Serve retires the replica."""
        if hasattr(self, "_service"):
            self._service.stop()
