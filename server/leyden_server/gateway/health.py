"""grpc.health.v1: what an orchestrator and a balancer are told.

`leyden.live` is SERVING while the process answers. The server's own name, which is empty, and
the services' names are SERVING while requests are taken and at least one loaded model has its
stages.
"""

import asyncio
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from leyden_server.generations.registry import Generations

__all__ = ["LIVE", "SERVICE_NAME", "Health"]

LIVE = "leyden.live"
SERVICE_NAME: str = health.SERVICE_NAME
LOOK_PERIOD_S = 0.5

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health service of one Gateway."""

    def __init__(self, generations: Generations, services: Sequence[str]) -> None:
        self._generations = generations
        self._names = ("", *services)
        self._servicer = health.aio.HealthServicer()
        self._is_serving: bool | None = None

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server: alive, and not serving yet."""
        await self._servicer.set(LIVE, SERVING)
        await self.refresh()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def refresh(self) -> None:
        """Say what holds now."""
        generations = self._generations
        is_serving = generations.catalog.is_ready and not generations.is_leaving
        if is_serving != self._is_serving:
            self._is_serving = is_serving
            status = SERVING if is_serving else NOT_SERVING
            await asyncio.gather(*(self._servicer.set(name, status) for name in self._names))

    async def keep_fresh(self) -> None:
        """Refresh again and again, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(LOOK_PERIOD_S)
