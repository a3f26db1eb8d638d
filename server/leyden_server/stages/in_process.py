"""The stages in this process, without Ray: a thread for each replica."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
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
    """A stage that is there for as long as the process is, once it is loaded.

    Each call goes to the replica that has the fewest.
    """

    problem = ""
    starts = False

    def __init__(self, name: str, load: Callable[[str], ServiceT], replicas: int = 1) -> None:
        """`load` makes the service of a replica by its name; it takes seconds and blocks."""
        self.name = name
        self.replicas = self.wanted = replicas
        self._load = load
        self._services: list[ServiceT] = []
        self._calls = [0] * replicas
        self._is_loaded = asyncio.Event()

    async def load(self) -> None:
        """Load the replicas in a thread, one after another; raises what the loading raises."""
        while len(self._services) < self.replicas:
            name = f"{self.name}#{len(self._services) + 1}"
            self._services.append(await asyncio.to_thread(self._load, name))
        self._is_loaded.set()

    @property
    def is_loaded(self) -> bool:
        """Whether it is loaded and warmed up."""
        return self._is_loaded.is_set()

    async def services(self) -> Sequence[ServiceT]:
        """Return all replicas, once they are loaded."""
        await self._is_loaded.wait()
        return self._services

    @asynccontextmanager
    async def call(self) -> AsyncIterator[ServiceT]:
        """Give the replica that has the fewest calls, once all are loaded; this is one of them."""
        services = await self.services()
        index = self._calls.index(min(self._calls))
        self._calls[index] += 1
        try:
            yield services[index]
        finally:
            self._calls[index] -= 1

    async def report(self) -> StageReport:
        """Return what the replicas do; nothing before they are loaded."""
        if not self.is_loaded:
            return StageReport(0, self.replicas, ())
        states = [await service.state() for service in self._services]
        return StageReport(self.replicas, self.replicas, tuple(states))

    async def wake(self) -> None:
        """Do nothing: it never rests."""

    def expected_start_s(self) -> float | None:
        """Return 0: it runs."""
        return 0.0

    def check_health(self) -> None:
        """Raise RuntimeError where a replica can no longer be relied on."""
        for service in self._services:
            service.check_health()

    def stop(self) -> None:
        """Stop the replicas' threads; what they run ends first."""
        for service in self._services:
            service.stop()


class TextEncoderInProcess(_InProcess[_TextEncodingService]):
    """TextEncodingServices of this process."""

    async def ready(self) -> StageInfo:
        """Describe a replica, once all are loaded and warmed up."""
        return await (await self.services())[0].ready()

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encode one prompt."""
        async with self.call() as service:
            return await service.encode(prompt)


class DenoiserInProcess(_InProcess[_DenoiseService]):
    """DenoiseServices of this process."""

    async def ready(self) -> DenoiserInfo:
        """Describe a replica, once all are loaded and warmed up."""
        return await (await self.services())[0].ready()

    async def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        """Run one image's denoising loop."""
        async with self.call() as service, aclosing(service.denoise(request)) as events:
            async for event in events:
                yield event

    async def stats(self) -> EngineStats:
        """Return the counters of all engines together."""
        all_stats = [await service.stats() for service in await self.services()]
        return EngineStats(
            unet_rows=sum(stats.unet_rows for stats in all_stats),
            unet_batches=sum(stats.unet_batches for stats in all_stats),
            retired=sum(stats.retired for stats in all_stats),
            aborted=sum(stats.aborted for stats in all_stats),
            running=sum(stats.running for stats in all_stats),
            waiting=sum(stats.waiting for stats in all_stats),
        )

    async def tally(self) -> EngineTally | None:
        """Return what the engines owe, once the images that leave them have left."""
        tallies = [await service.tally() for service in await self.services()]
        owed = [tally for tally in tallies if tally is not None]
        if not owed:
            return None
        return EngineTally(
            runs=tuple(run for tally in owed for run in tally.runs),
            images_left=sum(tally.images_left for tally in owed),
            rows_saved=sum(tally.rows_saved for tally in owed),
        )


class VaeInProcess(_InProcess[_VaeService]):
    """VaeServices of this process."""

    async def ready(self) -> StageInfo:
        """Describe a replica, once all are loaded and warmed up."""
        return await (await self.services())[0].ready()

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode the image."""
        async with self.call() as service:
            return await service.decode(request)
