"""The Gateway deployment: a GatewayServer in a Serve replica."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from ray import serve

from leyden_server.config import GatewayConfig
from leyden_server.gateway.server import STOP_GRACE_S, GatewayServer
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.records import RequestLog
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import ModelStages
from leyden_server.stages.over_ray import StageApplications, StagesOverRay
from leyden_server.stages.replica import replica_name

__all__ = ["STOP_GRACE_S", "Gateway"]


@serve.deployment(name="Gateway")
class Gateway:
    """Serves gRPC from this process; Serve places, watches and drains it."""

    async def __init__(
        self,
        config: GatewayConfig,
        *,
        address: str,
        entries: Sequence[CatalogEntry],
        applications: Mapping[str, StageApplications],
        request_log: Path,
        share: int,
    ) -> None:
        """Listen, and return once every model's stages are warmed up.

        Args:
            config: of the Gateway.
            address: to listen on, host:port.
            entries: all models.
            applications: of each served model, by its name.
            request_log: file that requests are logged in.
            share: images that one replica of a denoiser is to hold of this Gateway.

        """
        stages = StagesOverRay(config)

        def stages_of(model: ResolvedModel) -> ModelStages:
            return stages.of(applications[model.name])

        catalog = ModelCatalog(entries, config, stages_of, share=share)
        log = RequestLog(request_log, config.request_log_max_bytes, config.request_log_backups)
        self._server = GatewayServer(config, catalog, [log], replica=replica_name())
        await self._server.start(address)
        self._watching = asyncio.create_task(stages.watch())
        await self._server.load()

    async def __del__(self) -> None:
        """Drain: refuse what is new, finish what runs, then close. Serve awaits it."""
        if hasattr(self, "_server"):
            await self._server.stop()
