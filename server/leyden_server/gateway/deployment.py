"""The Gateway deployment: a grpc.aio server in a Serve replica, from start to drain."""

import asyncio
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from ray import serve

from leyden_server.address import ReservedAddress
from leyden_server.config import GatewayConfig
from leyden_server.gateway.leyden_v1 import image_generation, model_listing
from leyden_server.gateway.leyden_v1.image_generation import ImageGeneration
from leyden_server.gateway.leyden_v1.model_listing import ModelListing
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.records import RequestLog
from leyden_server.stages.replica import replica_name

__all__ = ["STOP_GRACE_S", "Gateway"]

SERVICES = (image_generation.SERVICE_NAME, model_listing.SERVICE_NAME)

STOP_GRACE_S = 1.0
"""After the drain, how long streams that never end by themselves (Health.Watch) get."""

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 1),
    # Clients may ping an idle connection every 10 s without being sent away.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # A client that has vanished without a word is given up after 30 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


@serve.deployment(name="Gateway")
class Gateway:
    """Serves gRPC from this process; Serve places, watches and drains it.

    The server listens as soon as the process is up and says NOT_SERVING until every
    model's stages are warmed up.
    """

    async def __init__(
        self,
        config: GatewayConfig,
        address: str,
        entries: tuple[CatalogEntry, ...],
        request_log: Path,
        address_sharer: str = "",
    ) -> None:
        """Listen, and return once every model's stages are warmed up.

        Where `address_sharer` is given, nobody holds the address for the server: the Gateways
        of that name hold it together.

        Raises:
            AddressInUseError: somebody else has it.

        """
        if address_sharer:
            self._held = ReservedAddress(config.host, config.port, address_sharer)
        self._config = config
        catalog = ModelCatalog(entries, config)
        log = RequestLog(request_log, config.request_log_max_bytes, config.request_log_backups)
        self._generation = ImageGeneration(catalog, config, log, replica_name())
        self._health = health.aio.HealthServicer()
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (self._generation.handler(), ModelListing(catalog, log).handler())
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._server.add_insecure_port(address)
        await self._server.start()

        await catalog.load()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def __del__(self) -> None:
        """Drain: refuse what is new, finish what runs, then close. Serve awaits it."""
        if not hasattr(self, "_server"):
            return
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._generation.drain(self._config.drain_timeout_s)
        await self._server.stop(STOP_GRACE_S)

    async def _set_health(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        await asyncio.gather(*(self._health.set(name, status) for name in ("", *SERVICES)))
