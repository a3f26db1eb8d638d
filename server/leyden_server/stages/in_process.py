"""The stages in this process, without Ray: one replica each, a thread a stage."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Generic, Protocol, TypeVar

from leyden_server.stages.contract import (
    DecodedImage,
    DecodeRequest,
    DenoiseEvent,
    DenoiseRequest,
    DenoiserInfo,
    DenoiserStage,
    EncodedPrompt,
    EngineStats,
    ReplicaState,
    StageInfo,
    StageReport,
    TextEncoderStage,
    VaeStage,
)
from leyden_server.stages.tally import EngineTally

__all__ = ["DenoiserInProcess", "TextEncoderInProcess", "VaeInProcess"]


class _Service(Protocol):
    def check_health(self) -> None: ...
    async def state(self) -> ReplicaState: ...
    def stop(self) -> None: ...


class _TextEncodingService(_Service, TextEncoderStage, Protocol): ...


class _DenoiseService(_Service, DenoiserStage, Protocol): ...


class _VaeService(_Service, VaeStage, Protocol): ...


ServiceT = TypeVar("ServiceT", bound=_Service)


class _InProcess(Generic[ServiceT]):
    """A stage that is there for as long as the process is, once it is loaded."""

    replicas = 1
    wanted = 1
    problem = ""
    starts = False

    def __init__(self, name: str, load: Callable[[], ServiceT]) -> None:
        """`load` makes the service; it takes seconds and blocks."""
        self.name = name
        self._load = load
        self._service: ServiceT | None = None
        self._is_loaded = asyncio.Event()

    async def load(self) -> None:
        """Load the service in a thread; raises what the loading raises."""
        self._service = await asyncio.to_thread(self._load)
        self._is_loaded.set()

    @property
    def is_loaded(self) -> bool:
        """Whether it is loaded and warmed up."""
        return self._is_loaded.is_set()

    async def service(self) -> ServiceT:
        """Return the service, once it is loaded."""
        await self._is_loaded.wait()
        assert self._service is not None
        return self._service

    async def report(self) -> StageReport:
        """Return what the stage does; nothing before it is loaded."""
        if self._service is None:
            return StageReport(0, 1, ())
        return StageReport(1, 1, (await self._service.state(),))

    async def wake(self) -> None:
        """Do nothing: it never rests."""

    def expected_start_s(self) -> float | None:
        """Return 0: it runs."""
        return 0.0

    def check_health(self) -> None:
        """Raise RuntimeError where the stage can no longer be relied on."""
        if self._service is not None:
            self._service.check_health()

    def stop(self) -> None:
        """Stop the stage's thread; what it runs ends first."""
        if self._service is not None:
            self._service.stop()


class TextEncoderInProcess(_InProcess[_TextEncodingService]):
    """A TextEncodingService of this process."""

    async def ready(self) -> StageInfo:
        """Describe the stage, once it is loaded and warmed up."""
        return await (await self.service()).ready()

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encode one prompt."""
        return await (await self.service()).encode(prompt)


class DenoiserInProcess(_InProcess[_DenoiseService]):
    """A DenoiseService of this process."""

    async def ready(self) -> DenoiserInfo:
        """Describe the stage, once it is loaded and warmed up."""
        return await (await self.service()).ready()

    def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        """Run one image's denoising loop; the stage is loaded by then."""
        assert self._service is not None, "whoever has a model has waited until it is loaded"
        return self._service.denoise(request)

    async def stats(self) -> EngineStats:
        """Return the engine's counters."""
        return await (await self.service()).stats()

    async def tally(self) -> EngineTally | None:
        """Return what the engine owes, once the images that leave it have left."""
        return await (await self.service()).tally()


class VaeInProcess(_InProcess[_VaeService]):
    """A VaeService of this process."""

    async def ready(self) -> StageInfo:
        """Describe the stage, once it is loaded and warmed up."""
        return await (await self.service()).ready()

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode the image."""
        return await (await self.service()).decode(request)
