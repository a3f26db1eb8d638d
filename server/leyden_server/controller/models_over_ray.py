"""Models that come and go over Ray, as one Gateway sees them; a `ModelControl` of `generations`.

Who decides is an actor (`models_actor`). A server with one Gateway starts it with the first load
or unload; where there are several, they all follow it from the start.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayActorError

from leyden_server.config import ServerConfig
from leyden_server.controller.desired_models import Snapshot
from leyden_server.controller.directory import NAMESPACE
from leyden_server.controller.models_actor import ModelsActor
from leyden_server.controller.names import Names
from leyden_server.controller.placement import Placement
from leyden_server.controller.repository_watch import RepositoryWatch
from leyden_server.controller.stage_applications import applications_of
from leyden_server.errors import RequestError, UnavailableError
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.served_model import ServedModel
from leyden_server.generations.server_state import GatewayReport
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import ModelStages
from leyden_server.stages.over_ray import StagesOverRay

__all__ = ["ModelsOverRay"]

RETRY_PERIOD_S = 0.2
PATIENCE_S = 60.0
"""How long a call waits for an actor that does not answer, which takes seconds to be restarted."""

CLOSE_TIMEOUT_S = 1.0
REPORTS_TIMEOUT_S = 2.0


class ModelsOverRay:
    """Follows what the actor decides, and asks it. For one event loop."""

    def __init__(
        self,
        config: ServerConfig,
        placements: Sequence[Placement],
        stages: StagesOverRay,
        gateway: str,
    ) -> None:
        """Take what the server starts with; `gateway` is this Gateway's name."""
        self.catalog: ModelCatalog
        """Set before `follow`."""
        self.report: Callable[[], GatewayReport] | None = None
        """Says what this Gateway does; set once there is a house."""
        self._config = config
        self._stages = stages
        self._gateway = gateway
        self._actor_name = Names(config.ray.instance).models
        self._watch = RepositoryWatch(config.model_repository)
        self._looking = asyncio.Lock()
        self._actor: ActorHandle | None = None
        self._newest = Snapshot(1, tuple(placements))
        self._version = 0
        """Of the snapshot that was taken over."""
        self._served: dict[str, Placement] = {}
        self._using: set[int] = set()
        self._is_newer = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, entries: Sequence[CatalogEntry], *, follows: bool) -> list[CatalogEntry]:
        """Return the entries as they are now: a Gateway may start long after its server.

        `follows`: whether models come and go at all.
        """
        if follows:
            self._find_actor(create=False)
        if self._actor is not None:
            self._newest = await self._enter()
        elif follows and self._config.gateway.replicas > 1:
            self._find_actor(create=True)  # it starts beside us, and knows no more than we do
        served = {placement.model.name: placement for placement in self._newest.served}
        self._served = dict(served)
        self._using = {placement.number for placement in served.values()}
        self._version = self._newest.version
        self.follow()
        return [
            *(CatalogEntry.served(placement.model) for placement in served.values()),
            *(entry for entry in entries if entry.name not in served),
        ]

    def stages_of(self, model: ResolvedModel) -> ModelStages:
        """Return the stages of a model that is served from this Gateway's start on."""
        return self._stages_of(self._served[model.name])

    def follow(self) -> None:
        """Say from now on what this Gateway uses, where there is an actor to be told."""
        if self._actor is not None and self._follower is None:
            self._follower = asyncio.create_task(self._follow())

    def take_over(self) -> None:
        """Take over what comes from now on; the models that were there at the start are ready."""
        self._spawn(self._take_over())

    async def refresh(self) -> None:
        """Look whether the repository has changed, and tell the catalog."""
        async with self._looking:
            entries = await asyncio.to_thread(self._watch.look)
        if entries is not None:
            self.catalog.describe(entries)

    async def load(self, name: str) -> None:
        """Return once a model is ready at all Gateways; raises as `ModelControl` does."""
        await self._ask("load", name)

    async def unload(self, name: str) -> None:
        """Return once a model's stages are gone; raises as `ModelControl` does."""
        await self._ask("unload", name)

    async def other_gateways(self) -> Sequence[GatewayReport]:
        """Return what the other Gateways said of themselves in the last second or two."""
        if self._actor is None:
            return ()
        try:
            async with asyncio.timeout(REPORTS_TIMEOUT_S):
                reports: dict[str, GatewayReport] = await self._actor.reports.remote()
        except (RayActorError, TimeoutError):
            return ()
        return tuple(one for gateway, one in reports.items() if gateway != self._gateway)

    async def close(self) -> None:
        """Need no model any more."""
        for task in [*self._tasks, *([self._follower] if self._follower else [])]:
            task.cancel()
        if self._actor is not None:
            with contextlib.suppress(RayActorError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._actor.leave.remote(self._gateway)

    async def _ask(self, method: str, name: str) -> None:
        self._find_actor(create=True)
        self.follow()
        try:
            # What the actor has begun goes on without us; a restarted one is asked again.
            async with asyncio.timeout(None) as patience:
                loop = asyncio.get_running_loop()
                while True:
                    assert self._actor is not None
                    try:
                        error: RequestError | None = await getattr(self._actor, method).remote(name)
                        break
                    except RayActorError as death:
                        if patience.when() is None:
                            patience.reschedule(loop.time() + PATIENCE_S)
                        await self._replace(death)
        except TimeoutError as late:
            raise UnavailableError(
                "MODELS_UNAVAILABLE", "who loads models does not answer", RETRY_PERIOD_S
            ) from late
        if error is not None:
            raise error

    async def _enter(self) -> Snapshot:
        while True:
            assert self._actor is not None
            try:
                newest: Snapshot = await self._actor.enter.remote(self._gateway, self._newest)
            except RayActorError as error:
                await self._replace(error)
            else:
                return newest

    async def _follow(self) -> None:
        while True:
            try:
                newer = await self._follow_once()
            except RayActorError as error:
                await self._replace(error)
                continue
            if newer is not None:
                self._newest = newer
                self._is_newer.set()

    async def _follow_once(self) -> Snapshot | None:
        assert self._actor is not None
        newer: Snapshot | None = await self._actor.follow.remote(
            self._gateway, self._newest, self._version, frozenset(self._using), self._report()
        )
        return newer

    async def _take_over(self) -> None:
        while True:
            await self._is_newer.wait()
            self._is_newer.clear()
            snapshot = self._newest
            self._withdraw(snapshot)
            for placement in snapshot.served:
                await self._serve(placement)
            self._version = snapshot.version
            await self._tell()

    def _withdraw(self, snapshot: Snapshot) -> None:
        """Say what comes and goes, and let go of what is served no more."""
        self.catalog.note_changes(
            coming={one.model.name for one in snapshot.coming},
            going=snapshot.going,
            failures=dict(snapshot.failures),
        )
        for name in self._served.keys() - {one.model.name for one in snapshot.served}:
            placement = self._served.pop(name)
            served = self.catalog.withdraw(name)
            if served is not None:
                self._drain(placement, served, self._config.gateway.drain_timeout_s)

    async def _serve(self, placement: Placement) -> None:
        name = placement.model.name
        before = self._served.get(name)
        if before is not None and before.number == placement.number:
            return
        self._using.add(placement.number)
        served = self.catalog.prepare(placement.model, self._stages_of(placement))
        await served.load()
        drained = self.catalog.serve(served)
        self._served[name] = placement
        if before is not None and drained is not None:
            # However long that takes: what was admitted to the old version is not lost.
            self._drain(before, drained, None)

    def _drain(self, placement: Placement, served: ServedModel, timeout_s: float | None) -> None:
        async def drain() -> None:
            await served.drain(timeout_s)
            self._using.discard(placement.number)
            self._stages.forget(placement.applications, self._in_use())
            await self._tell()

        self._spawn(drain())

    def _in_use(self) -> set[str]:
        return {name for placement in self._served.values() for name in placement.applications}

    async def _tell(self) -> None:
        """Tell the actor at once; the next `follow` would, within a second."""
        if self._actor is not None:
            with contextlib.suppress(RayActorError):
                await self._actor.hear.remote(
                    self._gateway, self._version, frozenset(self._using), self._report()
                )

    def _report(self) -> GatewayReport | None:
        return None if self.report is None else self.report()

    def _stages_of(self, placement: Placement) -> ModelStages:
        return self._stages.of(applications_of(self._config, placement))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self, error: RayActorError) -> None:
        """Have another actor where ours has ended for good; else wait a moment for its restart."""
        if isinstance(error, ActorDiedError):
            self._actor = None
            self._find_actor(create=True)
        await asyncio.sleep(RETRY_PERIOD_S)

    def _find_actor(self, *, create: bool) -> None:
        if self._actor is not None:
            return
        if create:
            # Detached: it must outlive the Gateway that happened to come first.
            self._actor = (
                ray.remote(ModelsActor)
                .options(
                    name=self._actor_name,
                    namespace=NAMESPACE,
                    get_if_exists=True,
                    lifetime="detached",
                    num_cpus=0,
                    max_restarts=-1,  # its calls are not retried by Ray, which would reorder them
                )
                .remote(self._config)
            )
        else:
            with contextlib.suppress(ValueError):  # there is none
                self._actor = ray.get_actor(self._actor_name, namespace=NAMESPACE)
