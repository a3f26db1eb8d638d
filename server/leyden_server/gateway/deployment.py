"""The Gateway deployment: a GatewayServer in a Serve replica."""

import asyncio
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray
from ray import serve

from leyden_server.address import ReservedAddress
from leyden_server.config import GatewayConfig, ServerConfig
from leyden_server.controller.directory import RayDirectory
from leyden_server.controller.metrics_address import MetricsAddress
from leyden_server.controller.models_over_ray import ModelsOverRay
from leyden_server.controller.placement import Placement
from leyden_server.controller.web_address import WebAddress
from leyden_server.gateway.peer_identity import PeerIdentity
from leyden_server.gateway.server import STOP_GRACE_S, GatewayServer
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.records import RequestLog
from leyden_server.stages.over_ray import StagesOverRay
from leyden_server.stages.replica import replica_name

__all__ = ["STOP_GRACE_S", "Gateway", "GatewaySetup"]


LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "[::1]", "[::1]": "[::1]"}


@dataclass(frozen=True, slots=True)
class GatewaySetup:
    """What a Gateway is told by whoever deploys it."""

    config: GatewayConfig
    address: str
    """To listen on, host:port."""
    entries: tuple[CatalogEntry, ...]
    """All models, the served ones first."""
    request_log: Path
    metrics_folder: Path | None
    """Where the Gateways of a machine put their numbers together; None: there is no page."""
    web_folder: Path | None
    """Where the Gateways of a machine agree on who serves the HTTP door; None: there is none."""
    share: int
    """Images that one replica of a denoiser is to hold of one Gateway."""
    server: ServerConfig
    """The settings of the whole server."""
    placements: tuple[Placement, ...]
    """Where the stages of each model run that the server starts with."""
    directory: str = ""
    """Name of the actor that knows which Gateway a generation lives in, where there are several."""
    peer_identity: PeerIdentity | None = None
    """What they know each other by, where there are several."""
    address_sharer: str = ""
    """Where it is given, nobody holds the address for the server: the Gateways of that name hold
    it together."""


@serve.deployment(name="Gateway")
class Gateway:
    """Serves gRPC from this process; Serve places, watches and drains it."""

    async def __init__(self, setup: GatewaySetup) -> None:
        """Listen, and return once every model's stages are warmed up.

        Raises:
            AddressInUseError: somebody else has the address.

        """
        config = setup.config
        if setup.address_sharer:
            self._held = ReservedAddress(config.host, config.port, setup.address_sharer)
            if setup.metrics_folder is not None:
                self._held_page = MetricsAddress(config, setup.address_sharer)
            if config.web_port is not None:
                self._held_web = WebAddress(config, setup.address_sharer)
        stages = StagesOverRay(config)
        models = ModelsOverRay(setup.server, setup.placements, stages, replica_name())
        # Where a Serve config names the applications, its owner alone decides on them.
        is_managed = bool(setup.address_sharer)
        entries = await models.join([*setup.entries], follows=not is_managed)
        catalog = ModelCatalog(
            entries, config, models.stages_of, share=setup.share, default=setup.entries[0].name
        )
        models.catalog = catalog
        log = RequestLog(
            setup.request_log, config.request_log_max_bytes, config.request_log_backups
        )
        self._models = models
        self._server = GatewayServer(
            config,
            catalog,
            [log],
            replica=replica_name(),
            peer_identity=setup.peer_identity,
            models=None if is_managed else models,
        )
        await self._server.start(
            setup.address,
            peer_host=_peer_host(config),
            metrics_folder=setup.metrics_folder and setup.metrics_folder / socket.gethostname(),
            web_folder=setup.web_folder and setup.web_folder / socket.gethostname(),
            join=partial(RayDirectory, setup.directory) if config.replicas > 1 else None,
        )
        models.report = self._server.generations.report
        self._watching = asyncio.create_task(stages.watch())
        await self._server.load()
        models.take_over()

    async def __del__(self) -> None:
        """Drain: refuse what is new, finish what runs, then close. Serve awaits it."""
        if hasattr(self, "_server"):
            await self._server.stop()
            await self._models.close()


def _peer_host(config: GatewayConfig) -> str:
    """Return the address at which the other Gateways reach this one.

    Where clients come from this machine alone, so do they.
    """
    return LOOPBACK.get(config.host) or ray.util.get_node_ip_address()
