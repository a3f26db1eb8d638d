"""Models that come and go in one process; a `ModelControl` of `generations`."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from leyden_server.config import ServerConfig
from leyden_server.controller.in_process_stages import InProcessStages
from leyden_server.controller.names import Names
from leyden_server.controller.operations import Operations
from leyden_server.controller.placement import Placement, place, unused
from leyden_server.controller.repository_watch import RepositoryWatch
from leyden_server.errors import ModelLoadError, StartupError
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.served_model import ServedModel
from leyden_server.generations.server_state import GatewayReport
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.file_marks import FileMarks, file_marks
from leyden_server.stages.contract import ModelStages

__all__ = ["InProcessModels"]


class InProcessModels:
    """Loads stages beside running ones, in threads, and stops those that nobody uses any more.

    For one event loop.
    """

    def __init__(self, config: ServerConfig, models: Iterable[ResolvedModel]) -> None:
        """`models` are those that the server loads as it starts."""
        self.stages = InProcessStages(config)
        self.catalog: ModelCatalog
        """Set before the first load."""
        self._config = config
        self._names = Names(config.ray.instance)
        self._watch = RepositoryWatch(config.model_repository)
        self._has_started = asyncio.Event()
        self._looking = asyncio.Lock()
        self._loading = asyncio.Lock()
        self._operations = Operations()
        self._placements: list[Placement] = []
        """Versions whose stages are needed: those that load, are served, and drain."""
        self._served: dict[str, Placement] = {}
        self._drains: set[asyncio.Task[None]] = set()
        self._number = 0
        for model in models:
            self._served[model.name] = self._place(model, file_marks(model))

    async def load_first(self) -> None:
        """Load the stages that the server starts with; whatever else is asked for comes after.

        Raises:
            StartupError: one of them failed; it is named.

        """
        await self.stages.load()
        self._has_started.set()

    def stages_of(self, model: ResolvedModel) -> ModelStages:
        """Return the stages of a model that is loaded at the start."""
        return self.stages.of(self._served[model.name])

    async def refresh(self) -> None:
        """Look whether the repository has changed, and tell the catalog."""
        async with self._looking:
            entries = await asyncio.to_thread(self._watch.look)
        if entries is not None:
            self.catalog.describe(entries)

    async def load(self, name: str) -> None:
        """Return once a model is ready, as its files are now; raises as `ModelControl` does."""
        await self._has_started.wait()
        await self._operations.do(name, "load", partial(self._load, name))

    async def unload(self, name: str) -> None:
        """Return once a model's stages are gone; raises as `ModelControl` does."""
        await self._has_started.wait()
        await self._operations.do(name, "unload", partial(self._unload, name))

    async def other_gateways(self) -> Sequence[GatewayReport]:
        """Return nothing: there are no others."""
        return ()

    @property
    def is_loading(self) -> bool:
        """Whether a thread loads a stage, which nothing can break off."""
        return self._loading.locked()

    async def stop(self) -> None:
        """End what is under way, and stop the stages."""
        await self._operations.stop()
        for task in self._drains:
            task.cancel()
        await self.stages.stop()

    async def _load(self, name: str) -> None:
        await self.refresh()
        model, marks = await asyncio.to_thread(self._watch.resolve, name)
        before = self._served.get(name)
        if before is not None and before.is_of(model, marks):
            return
        self.catalog.note_coming(name)
        async with self._loading:
            placement = self._place(model, marks)
            try:
                served = await self._prepare(placement)
            except BaseException as error:
                await self._remove(placement)
                raise self._failed(name, error) from error
            drained = self.catalog.serve(served)
            self._served[name] = placement
        if before is not None and drained is not None:
            # However long that takes: what was admitted to the old version is not lost.
            self._drain(before, drained)

    async def _prepare(self, placement: Placement) -> ServedModel:
        stages = self.stages.of(placement)
        await self.stages.load()
        served = self.catalog.prepare(placement.model, stages)
        await served.load()
        return served

    def _failed(self, name: str, error: BaseException) -> BaseException:
        if not isinstance(error, Exception):
            self.catalog.note_failure(name, "it was broken off")
            return error
        why = self._watch.for_clients(
            str(error) if isinstance(error, StartupError) else f"{type(error).__name__}: {error}"
        )
        self.catalog.note_failure(name, why)
        return ModelLoadError(name, why)

    async def _unload(self, name: str) -> None:
        placement = self._served.pop(name, None)
        served = self.catalog.withdraw(name)
        if placement is None or served is None:
            self.catalog.view(name)  # raises where there is no such model
            return
        try:
            await served.drain(self._config.gateway.drain_timeout_s)
            await self._remove(placement)
        finally:
            self.catalog.note_gone(name)

    def _drain(self, placement: Placement, served: ServedModel) -> None:
        async def drain() -> None:
            await served.drain(None)
            await self._remove(placement)

        self._spawn(drain())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    def _place(self, model: ResolvedModel, marks: FileMarks) -> Placement:
        self._number += 1
        placement = place(model, marks, self._names, self._placements, number=self._number)
        self._placements.append(placement)
        return placement

    async def _remove(self, placement: Placement) -> None:
        self._placements.remove(placement)
        await self.stages.remove(unused(self.stages.names, self._placements))
