"""The three stages as deployments of Ray Serve, typed."""

from collections.abc import AsyncGenerator, Container, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from leyden_server.config import GatewayConfig
from leyden_server.stages.contract import (
    DecodedImage,
    DecodeRequest,
    DenoiseEvent,
    DenoiseRequest,
    DenoiserInfo,
    EncodedPrompt,
    EngineStats,
    ModelStages,
    StageInfo,
)
from leyden_server.stages.ray_handle import Patience, StageHandle
from leyden_server.stages.replica_counts import ReplicaCounts
from leyden_server.stages.tally import EngineTally

__all__ = [
    "DenoiserOverRay",
    "StageApplications",
    "StagesOverRay",
    "TextEncoderOverRay",
    "VaeOverRay",
]

HandleT = TypeVar("HandleT", "TextEncoderOverRay", "DenoiserOverRay", "VaeOverRay")

BYTES_OF_A_LATENT = 3 * 8 * 8
"""Of pixels that a latent's place becomes, 3 bytes each."""


class TextEncoderOverRay(StageHandle):
    """A TextEncoder deployment."""

    deployment: ClassVar[str] = "TextEncoder"

    async def ready(self) -> StageInfo:
        """Describe the replica, once it is loaded and warmed up."""
        info: StageInfo = await super().ready()
        return info

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encode one prompt; raises as `call` does."""
        encoded: EncodedPrompt = await self.call("encode", prompt)
        return encoded


class DenoiserOverRay(StageHandle):
    """A Denoiser deployment."""

    deployment: ClassVar[str] = "Denoiser"

    async def ready(self) -> DenoiserInfo:
        """Describe the replica, once it is loaded and warmed up."""
        info: DenoiserInfo = await super().ready()
        return info

    async def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        """Run one image's denoising loop; raises as `call` does."""
        async with aclosing(self.stream("denoise", request)) as parts:
            async for events in parts:
                for event in events:
                    yield event

    async def stats(self) -> EngineStats:
        """Return a replica's counters; raises as `call` does."""
        stats: EngineStats = await self.call("stats")
        return stats

    async def tally(self) -> EngineTally | None:
        """Return what a replica owes; raises as `call` does."""
        tally: EngineTally | None = await self.call("tally")
        return tally


class VaeOverRay(StageHandle):
    """A Vae deployment."""

    deployment: ClassVar[str] = "Vae"

    async def ready(self) -> StageInfo:
        """Describe the replica, once it is loaded and warmed up."""
        info: StageInfo = await super().ready()
        return info

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode the image; raises as `call` does."""
        # An image file is at most about as large as its pixels; a latent has at least 8 x 8.
        _, height, width = request.latents.shape
        image: DecodedImage = await self.call(
            "decode", request, result_bytes=BYTES_OF_A_LATENT * height * width
        )
        return image


@dataclass(frozen=True, slots=True)
class StageApplications:
    """Names of the Serve applications that a model's stages run in."""

    text_encoder: str
    denoiser: str
    vae: str
    rest_after_s: Mapping[str, float] = field(default_factory=dict)
    """Of those that may rest without a replica: after how many seconds of no request."""


class StagesOverRay:
    """One handle for each application: models that share a stage share what is known of it."""

    def __init__(self, config: GatewayConfig) -> None:
        self._patience = Patience(
            config.stage_stall_timeout_s, config.stage_start_timeout_s, config.stage_gone_after_s
        )
        self._replicas = ReplicaCounts()
        self._handles: dict[str, StageHandle] = {}

    def of(self, applications: StageApplications) -> ModelStages:
        """Return a model's stages."""
        rest_after_s = applications.rest_after_s
        return ModelStages(
            self._handle(TextEncoderOverRay, applications.text_encoder, rest_after_s),
            self._handle(DenoiserOverRay, applications.denoiser, rest_after_s),
            self._handle(VaeOverRay, applications.vae, rest_after_s),
        )

    def forget(self, applications: Iterable[str], used: Container[str]) -> None:
        """Drop the handles of applications that are not `used`: one of that name may come anew."""
        for application in applications:
            if application not in used:
                self._handles.pop(application, None)

    async def watch(self) -> None:
        """Keep what is known of the replicas fresh, until cancelled."""
        await self._replicas.watch()

    def _handle(
        self, kind: type[HandleT], application: str, rest_after_s: Mapping[str, float]
    ) -> HandleT:
        handle = self._handles.get(application)
        if handle is None:
            handle = kind(
                application,
                kind.deployment,
                self._patience,
                self._replicas,
                rest_after_s.get(application),
            )
            self._handles[application] = handle
        assert isinstance(handle, kind)
        return handle
