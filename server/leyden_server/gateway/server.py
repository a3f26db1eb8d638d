"""One Gateway: a grpc.aio server before the house, from listening to drained."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from leyden_server.config import GatewayConfig
from leyden_server.errors import UnauthenticatedError
from leyden_server.gateway import health
from leyden_server.gateway.channel_options import server_options
from leyden_server.gateway.door import Door
from leyden_server.gateway.health import Health
from leyden_server.gateway.kserve_v2 import service as inference_service
from leyden_server.gateway.kserve_v2.inference.descriptor_pool import POOL
from leyden_server.gateway.kserve_v2.service import InferenceService
from leyden_server.gateway.leyden_v1 import image_generation, model_service, over_grpc
from leyden_server.gateway.leyden_v1.image_generation import ImageGeneration
from leyden_server.gateway.leyden_v1.model_service import ModelService
from leyden_server.gateway.peer_identity import PeerIdentity
from leyden_server.gateway.peers import Peers
from leyden_server.gateway.reflection import add_reflection
from leyden_server.gateway.status import describe
from leyden_server.gateway.tracing import open_tracing
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.directory import Directory, OnlyHere
from leyden_server.generations.home import Caller
from leyden_server.generations.model_control import FixedModels, ModelControl
from leyden_server.generations.records import Observer
from leyden_server.generations.registry import Generations
from leyden_server.metrics.gateway_metrics import GatewayMetrics
from leyden_server.metrics.ledger import Ledger

if TYPE_CHECKING:
    from leyden_server.gateway.web.door import WebDoor
    from leyden_server.metrics.page import MetricsPage

__all__ = ["STOP_GRACE_S", "GatewayServer", "Join"]

Join = Callable[[str, Callable[[], Iterable[str]]], Directory]
"""Joins the directory: takes this Gateway's peer address and what lists its generations."""

SERVICES = (
    image_generation.SERVICE_NAME,
    model_service.SERVICE_NAME,
    inference_service.SERVICE_NAME,
)


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
        models: ModelControl | None = None,
        peer_identity: PeerIdentity | None = None,
    ) -> None:
        """Read what the settings name.

        Args:
            config: the settings.
            catalog: the models.
            observers: who is told what becomes of requests.
            replica: this Gateway's name, for bills and traces.
            models: loads and unloads them; None: they stay as they are.
            peer_identity: what the Gateways of a server with several know each other by.

        Raises:
            StartupError: a file of TLS or API keys is not what it should be; or traces are asked
                for and OpenTelemetry is missing.

        """
        self._config = config
        self._catalog = catalog
        self._observers = observers
        self._replica = replica
        self._models: ModelControl = FixedModels() if models is None else models
        self._metrics = GatewayMetrics(catalog)
        self._page: MetricsPage | None = None
        self.web: WebDoor | None = None
        """The HTTP door, once it has started; None: there is none."""
        self._peer_identity = peer_identity
        self._peers = Peers(peer_identity)
        self._door = Door(config, self._refused)
        self._metrics.certificate_expiry_s = self._door.certificate_expiry_s
        self._tracing = open_tracing(config, replica)
        self._tasks: list[asyncio.Task[None]] = []
        self.server = grpc.aio.server(
            interceptors=(self._door.access,), options=server_options(config)
        )
        self.generations: Generations
        """There once it has started."""

    async def start(
        self,
        address: str,
        *,
        peer_host: str = "",
        join: Join | None = None,
        metrics_folder: Path | None = None,
        web_folder: Path | None = None,
    ) -> int:
        """Listen at `address`, and say that nothing is ready; return the port.

        Where the server has several Gateways, `join` gives the directory that they share, and
        `peer_host` is where they reach this one, at a port of its own. With a `metrics_folder`,
        which is that of all Gateways of its machine, it has its part in their page of metrics.
        With a `web_folder` it shares the HTTP door with them; without one it is the only one.
        """
        directory: Directory = OnlyHere()
        if join is not None:
            if self._peer_identity is None:
                raise ValueError("several Gateways know each other by a PeerIdentity")
            peer_port = self.server.add_secure_port(
                f"{peer_host}:0", self._peer_identity.server_credentials()
            )
            directory = join(f"{peer_host}:{peer_port}", lambda: self.generations.names)
        self._directory = directory
        self.generations = Generations(
            self._catalog,
            self._config,
            (*self._observers, self._metrics.observer),
            describe,
            replica=self._replica,
            directory=directory,
            tracer=self._tracing,
        )
        self._metrics.generations = self.generations
        self._health = Health(self.generations, SERVICES)
        images = ImageGeneration(self.generations, self._peers)
        models = ModelService(self.generations, self._models, self._config)
        self._inference = InferenceService(
            self.generations, self._models, self._config, self._counted
        )
        self.server.add_generic_rpc_handlers(
            (
                *over_grpc.handlers(images, models, self._config.write_timeout_s),
                self._inference.handler(),
            )
        )
        # Whoever stops us from here on finds all that `stop` needs.
        if metrics_folder is not None:
            await self._show_metrics(metrics_folder)
        await self._health.add_to(self.server)
        add_reflection((*SERVICES, health.SERVICE_NAME), self.server, POOL)
        port = self._door.listen(self.server, address)
        await self.server.start()
        if self._config.web_port is not None:
            await self._open_web(images, models, web_folder)
        self._tasks.append(asyncio.create_task(self._door.keep_fresh(self._note)))
        return port

    async def _open_web(
        self, images: ImageGeneration, models: ModelService, folder: Path | None
    ) -> None:
        from leyden_server.gateway.web.opening import web_door  # not before it is wanted

        self.web = web_door(
            self._config,
            self._door,
            self.generations,
            self._models,
            images=images,
            models=models,
            stop_grace_s=STOP_GRACE_S,
            folder=folder,
        )
        await self.web.start()

    async def _show_metrics(self, folder: Path) -> None:
        from leyden_server.metrics.page import MetricsPage  # not before it is wanted

        config = self._config
        assert isinstance(config.metrics_port, int), "whoever started the server has chosen one"
        self._page = MetricsPage(
            self._metrics, folder, self._replica, config.metrics_host, config.metrics_port
        )
        await self._page.start()

    def _counted(self) -> Ledger:
        """Return the numbers of all Gateways of this machine; without a page, of this one."""
        return self._metrics.now() if self._page is None else self._page.together()

    def _refused(self, caller: Caller, error: UnauthenticatedError) -> None:
        self.generations.turned_away(caller, error)

    def _note(self, text: str) -> None:
        for observer in self._observers:
            observer.noted(text)

    async def load(self) -> None:
        """Return once every model's stages are warmed up and the directory answers, and say so."""
        await asyncio.gather(self._catalog.load(), self._directory.ready())
        await self._health.refresh()
        self._tasks.append(asyncio.create_task(self._health.keep_fresh()))

    async def stop(self, drain_timeout_s: float | None = None) -> None:
        """Drain: refuse what is new, finish what runs, then close; also where it starts as yet.

        `drain_timeout_s` takes the place of the config's, and then no notice is given before.
        """
        if drain_timeout_s is None:
            await self._give_notice()
        timeout_s = self._config.drain_timeout_s if drain_timeout_s is None else drain_timeout_s
        draining = asyncio.create_task(self.generations.drain(timeout_s))
        await asyncio.sleep(0)  # one turn, in which the drain begins
        await self._health.refresh()
        await draining
        closing = [self.server.stop(STOP_GRACE_S)]
        if self.web is not None:
            closing.append(self.web.stop())
        await asyncio.gather(*closing)
        self._inference.close()
        for task in self._tasks:
            task.cancel()
        if self._page is not None:
            await self._page.stop()
        await self._directory.close()
        await self._peers.close()
        await self._tracing.close()

    async def _give_notice(self) -> None:
        """Have balancers go elsewhere, and serve on until they have."""
        if self._catalog.is_ready and not self.generations.is_leaving:  # else nobody comes here
            self.generations.give_notice()
            await self._health.refresh()
            await asyncio.sleep(self._config.drain_notice_s)
