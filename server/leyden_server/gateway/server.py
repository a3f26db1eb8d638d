"""One Gateway: a grpc.aio server before the house, from listening to drained."""

import asyncio
from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection

from leyden_server.config import GatewayConfig
from leyden_server.gateway import health
from leyden_server.gateway.channel_options import server_options
from leyden_server.gateway.health import Health
from leyden_server.gateway.leyden_v1 import image_generation, model_listing
from leyden_server.gateway.leyden_v1.image_generation import ImageGeneration
from leyden_server.gateway.leyden_v1.model_listing import ModelListing
from leyden_server.gateway.peers import Peers
from leyden_server.gateway.status import describe
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.directory import Directory, OnlyHere
from leyden_server.generations.records import Observer
from leyden_server.generations.registry import Generations

__all__ = ["STOP_GRACE_S", "GatewayServer"]

SERVICES = (image_generation.SERVICE_NAME, model_listing.SERVICE_NAME)


STOP_GRACE_S = 1.0
"""After the drain, how long streams that never end by themselves (Health.Watch) get."""


class GatewayServer:
    """Serves gRPC from this process, wherever that runs.

    It listens from `start` on and says NOT_SERVING until every model's stages are warmed up.
    """

    def __init__(
        self,
        config: GatewayConfig,
        catalog: ModelCatalog,
        observers: Sequence[Observer],
        *,
        replica: str,
    ) -> None:
        """`replica` is this Gateway's name, for bills."""
        self._config = config
        self._catalog = catalog
        self._observers = observers
        self._replica = replica
        self._peers = Peers()
        self._tasks: list[asyncio.Task[None]] = []
        self.server = grpc.aio.server(options=server_options(config))
        self.generations: Generations

    async def start(self, address: str, directory: Directory | None = None) -> int:
        """Listen at `address`, and say that nothing is ready; return the port."""
        self.generations = Generations(
            self._catalog,
            self._config,
            self._observers,
            describe,
            replica=self._replica,
            directory=directory or OnlyHere(),
        )
        self._health = Health(self.generations, SERVICES)
        images = ImageGeneration(self.generations, self._peers, self._config)
        models = ModelListing(self.generations, self._config)
        self.server.add_generic_rpc_handlers((images.handler(), models.handler()))
        await self._health.add_to(self.server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server)
        port = self.server.add_insecure_port(address)
        await self.server.start()
        return port

    async def load(self) -> None:
        """Return once every model's stages are warmed up, and say so."""
        await self._catalog.load()
        await self._health.refresh()
        self._tasks.append(asyncio.create_task(self._health.keep_fresh()))

    async def stop(self) -> None:
        """Drain: refuse what is new, finish what runs, then close."""
        draining = asyncio.create_task(self.generations.drain(self._config.drain_timeout_s))
        await asyncio.sleep(0)  # one turn, in which the drain begins
        await self._health.refresh()
        await draining
        await self.server.stop(STOP_GRACE_S)
        for task in self._tasks:
            task.cancel()
        await self._peers.close()
