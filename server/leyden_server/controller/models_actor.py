"""The one who decides which models run, of a server over Ray: an actor that all Gateways follow.

It writes nothing down. Where it was restarted, Gateways tell it the newest snapshot that they
have, and it goes on from there; what it was loading, it loads again.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from leyden_server.config import ServerConfig
from leyden_server.controller.desired_models import FOLLOW_PERIOD_S, DesiredModels, Snapshot
from leyden_server.controller.names import Names
from leyden_server.controller.operations import Operations
from leyden_server.controller.placement import place, unused
from leyden_server.controller.repository_watch import RepositoryWatch
from leyden_server.controller.stage_deployer import StageDeployer
from leyden_server.errors import (
    LeydenError,
    ModelLoadError,
    NoResourcesError,
    RequestError,
)
from leyden_server.generations.server_state import GatewayReport

__all__ = ["ModelsActor"]

HOLD_S = 15.0
"""How long a restarted actor waits for its Gateways, of which one may be gone for good. Each may
know a newer snapshot, and what one still serves must not be deleted as if nobody used it."""


class ModelsActor:
    """Loads and unloads models one after another. For one event loop, the actor's."""

    def __init__(self, config: ServerConfig) -> None:
        was_restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self._hold_s = HOLD_S if was_restarted else 0.0
        self._config = config
        self._names = Names(config.ray.instance)
        self._watch = RepositoryWatch(config.model_repository)
        self._deployer = StageDeployer(config)
        self._operations = Operations()
        self._deploying = asyncio.Lock()
        self._told: dict[str, Snapshot] = {}
        """What each Gateway knew, of those that have called."""
        self._all_told = asyncio.Event()
        self._models: DesiredModels | None = None
        self._is_there = asyncio.Event()
        self._changed = asyncio.Condition()
        self._deleting: dict[str, str] = {}
        """Applications that are being deleted, with the model that they were retired with."""
        self._tasks: set[asyncio.Task[object]] = set()

    async def follow(
        self,
        gateway: str,
        newest: Snapshot,
        version: int,
        using: frozenset[int],
        report: GatewayReport | None,
    ) -> Snapshot | None:
        """Return a snapshot that is newer than `newest`; None: there is none within a second.

        `newest` is the one that the Gateway knows, `version` of the one that it has taken over,
        `using` are the placements that it serves or drains, and `report` says what it does.
        """
        if self._models is None:
            await self._adopt(gateway, newest)
        await self.hear(gateway, version, using, report)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_PERIOD_S), self._changed:
                await self._changed.wait_for(lambda: self._there.snapshot.version > newest.version)
        snapshot = self._there.snapshot
        return snapshot if snapshot.version > newest.version else None

    async def enter(self, gateway: str, newest: Snapshot) -> Snapshot:
        """Return what a Gateway that starts is to begin with; `newest` is what it knows."""
        if self._models is None:
            await self._adopt(gateway, newest)
        await self.hear(gateway, 0, frozenset())
        return self._there.snapshot

    async def hear(
        self,
        gateway: str,
        version: int,
        using: frozenset[int],
        report: GatewayReport | None = None,
    ) -> None:
        """Note what a Gateway has taken over and uses, as in `follow`."""
        if self._models is not None:
            self._models.hear(gateway, version, using, report)
            await self._tell()

    async def reports(self) -> dict[str, GatewayReport]:
        """Return what each Gateway has said of itself in the last second or two."""
        return {} if self._models is None else self._models.reports

    async def leave(self, gateway: str) -> None:
        """Forget a Gateway that ends."""
        if self._models is not None:
            self._models.leave(gateway)
            await self._tell()

    async def load(self, name: str) -> RequestError | None:
        """Return once a model is ready at all Gateways, or why it cannot be."""
        return await self._do(name, "load", partial(self._load, name))

    async def unload(self, name: str) -> RequestError | None:
        """Return once a model's stages are gone, or why they cannot go."""
        return await self._do(name, "unload", partial(self._unload, name))

    async def _do(
        self, name: str, kind: str, run: Callable[[], Coroutine[Any, Any, None]]
    ) -> RequestError | None:
        await self._is_there.wait()
        try:
            await self._operations.do(name, kind, run)
        except RequestError as error:
            return error  # by value: raised, Ray would wrap it
        return None

    @property
    def _there(self) -> DesiredModels:
        assert self._models is not None, "whoever needs it has waited until it is there"
        return self._models

    async def _adopt(self, gateway: str, snapshot: Snapshot) -> None:
        """Take the newest of the snapshots that Gateways tell, once all have, or had time to."""
        self._told[gateway] = snapshot
        if len(self._told) >= self._config.gateway.replicas:
            self._all_told.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._hold_s):
                await self._all_told.wait()
        if self._models is not None:
            return
        newest = max(self._told.values(), key=lambda one: one.version)
        # What was being loaded is begun anew: nobody knows how far it has come.
        adopted = replace(newest, version=newest.version + 1, coming=())
        self._models = DesiredModels(adopted)
        there = await asyncio.to_thread(self._deployer.stages_there)
        await asyncio.to_thread(self._deployer.delete, unused(there, adopted.placements))
        self._is_there.set()
        for placement in newest.coming:
            self._spawn(self.load(placement.model.name))

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, name: str) -> None:
        model, marks = await asyncio.to_thread(self._watch.resolve, name)
        before = self._there.snapshot.placement(name)
        if before is not None and before.is_of(model, marks):
            return
        async with self._deploying:
            there = self._there.snapshot.placements
            number = self._there.next_number()
            placement = place(model, marks, self._names, there, number=number, taken=self._deleting)
            self._there.begin(placement)
            await self._tell()
            try:
                await asyncio.to_thread(self._deployer.deploy, placement, there)
            except Exception as error:
                failure = self._failure(name, error)
                self._there.fail(placement, failure.why)
                await self._tell()
                raise failure from error
            self._there.serve(placement)
            version = self._there.snapshot.version
        await self._until(lambda: self._there.has_been_taken_over(version))

    def _failure(self, name: str, error: Exception) -> ModelLoadError | NoResourcesError:
        if isinstance(error, ModelLoadError | NoResourcesError):
            return type(error)(name, self._watch.for_clients(error.why))
        text = str(error) if isinstance(error, LeydenError) else f"{type(error).__name__}: {error}"
        return ModelLoadError(name, self._watch.for_clients(text))

    async def _unload(self, name: str) -> None:
        if not any(placement.model.name == name for placement in self._there.snapshot.placements):
            await asyncio.to_thread(self._watch.require, name)
        self._there.withdraw(name)
        await self._until(lambda: not self._is_going(name))
        self._there.note_gone(name)
        await self._tell()

    def _is_going(self, name: str) -> bool:
        retired = (placement.model.name for placement in self._there.snapshot.retired)
        return name in {*retired, *self._deleting.values()}

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for what Gateways tell, or for one of them to be gone, which nobody tells."""
        await self._tell()
        while not condition():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FOLLOW_PERIOD_S), self._changed:
                    await self._changed.wait_for(condition)
            await self._tell()

    async def _tell(self) -> None:
        """Have stages deleted that nobody needs any more, and wake whoever waits for a change."""
        for placement in self._there.forget_unused():
            names = unused(placement.applications, self._there.snapshot.placements)
            gone = {name: placement.model.name for name in names if name not in self._deleting}
            self._deleting.update(gone)
            self._spawn(self._delete(gone))
        async with self._changed:
            self._changed.notify_all()

    async def _delete(self, names: Iterable[str]) -> None:
        names = list(names)
        await asyncio.to_thread(self._deployer.delete, names)
        for name in names:
            del self._deleting[name]
        await self._tell()
