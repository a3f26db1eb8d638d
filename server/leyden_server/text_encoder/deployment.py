"""The TextEncoder deployment: a shell around the service."""

import asyncio

from ray import serve

from leyden_server.config import TextEncoderConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import EncodedPrompt, ReplicaState, StageInfo
from leyden_server.stages.replica import replica_name

__all__ = ["TextEncoder"]


@serve.deployment(name="TextEncoder")
class TextEncoder:
    """Encodes prompts for every model with one base."""

    async def __init__(self, model: ResolvedModel, config: TextEncoderConfig) -> None:
        from leyden_server.text_encoder.service import TextEncodingService

        # In a thread: Serve may want the replica gone before the model is there.
        self._service = await asyncio.to_thread(TextEncodingService, model, config, replica_name())

    async def ready(self) -> StageInfo:
        """Answer once the encoders are loaded and warmed up."""
        return await self._service.ready()

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encode one prompt."""
        return await self._service.encode(prompt)

    async def state(self) -> ReplicaState:
        """Say what the replica does now."""
        return await self._service.state()

    async def check_health(self) -> None:
        """Tell Serve whether the encoders can be relied on."""
        self._service.check_health()

    def __del__(self) -> None:
        """Stop the thread when Serve retires the replica."""
        if hasattr(self, "_service"):
            self._service.stop()
