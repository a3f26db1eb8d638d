"""The page over HTTP: GET /metrics, and nothing else.

By aiohttp, which Ray Serve brings along: in the Gateway's own event loop, so that what is counted
there is read without locks, and with bounds on headers and idle connections, which the servers of
prometheus_client do not have.
"""

import asyncio
import logging
from pathlib import Path

from aiohttp import web

from leyden_server.metrics.exposition import written
from leyden_server.metrics.gateway_metrics import GatewayMetrics
from leyden_server.metrics.ledger import Ledger
from leyden_server.metrics.node_files import NodeFiles

__all__ = ["MetricsPage"]

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
"""How often a Gateway writes its numbers for the others, and looks whether the page is free."""

SHUTDOWN_S = 1.0
"""What a scrape that is under way gets."""


class MetricsPage:
    """One Gateway's part in its node's page: it serves it, or waits to take it over."""

    def __init__(
        self, metrics: GatewayMetrics, folder: Path, name: str, host: str, port: int
    ) -> None:
        """`folder` is the same for all Gateways of the node, and `name` is this one's alone.

        The port is held by whoever started the Gateways, or by them together.
        """
        self._metrics = metrics
        self._files = NodeFiles(folder, name)
        self._host, self._port = host.strip("[]"), port
        self._runner: web.AppRunner | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._has_warned = False

    async def start(self) -> None:
        """Serve the page, if no other Gateway of the node does; then keep to it."""
        await self._take_over()
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Write the last numbers and let another Gateway serve the page."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        self._write()
        self._files.close()

    def together(self) -> Ledger:
        """Return the numbers of all Gateways of the node."""
        # First of all: what was shown must not be lost with this process.
        self._write()
        return self._files.together(self._metrics.now())

    def _write(self) -> None:
        try:
            self._files.write(self._metrics.now())
        except OSError as error:
            # A full disk, say: this Gateway's own page is right all the same.
            self._warn(f"metrics are not written for other Gateways: {error}")

    async def _keep(self) -> None:
        while True:
            self._write()
            await asyncio.sleep(PERIOD_S)
            try:
                await self._take_over()
            except OSError as error:
                self._warn(f"the page of metrics cannot be taken over: {error}")

    async def _take_over(self) -> None:
        if self._runner is not None or not self._files.leads():
            return
        application = web.Application()
        application.router.add_get("/metrics", self._show)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, reuse_port=True).start()
        except OSError as error:
            # Only where nobody holds the port: on a further node.
            await runner.cleanup()
            self._files.step_down()
            self._warn(f"no metrics at {self._host}:{self._port}: {error}")
            return
        self._runner = runner

    def _warn(self, text: str) -> None:
        """Say so in the log, once."""
        if not self._has_warned:
            logger.warning("%s", text)
            self._has_warned = True

    async def _show(self, request: web.Request) -> web.Response:
        accept = ",".join(request.headers.getall("Accept", []))
        body, content_type = written(self.together(), accept)
        return web.Response(body=body, headers={"Content-Type": content_type})
