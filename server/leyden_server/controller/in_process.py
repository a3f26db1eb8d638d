"""The whole server in this process, without Ray: a thread a stage, and one for gRPC."""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from leyden_server.address import ReservedAddress
from leyden_server.config import ServerConfig
from leyden_server.controller.in_process_models import InProcessModels
from leyden_server.controller.in_process_stages import InProcessStages, import_torch
from leyden_server.controller.metrics_address import MetricsAddress, metrics_port
from leyden_server.controller.models import build_catalog
from leyden_server.controller.web_address import WebAddress
from leyden_server.gateway.door import check_files
from leyden_server.gateway.server import GatewayServer
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.records import RequestLog
from leyden_server.model_repository import ModelRepository

__all__ = ["InProcessServer"]

Result = TypeVar("Result")


class InProcessServer:
    """A running server, as a context manager; the same as LeydenServer is over Ray.

    Each stage has `min_replicas` replicas, and at least one: none scales or rests. A defect that a
    stage cannot survive shows in `wait`: a supervisor is to start the process again.
    """

    def __init__(
        self,
        config: ServerConfig,
        report: Callable[[str], None] = lambda _: None,
        *,
        follow: Callable[[Path], None] = lambda _: None,
        repository: ModelRepository | None = None,
        address: ReservedAddress | None = None,
        metrics_address: MetricsAddress | None = None,
        web_address: WebAddress | None = None,
    ) -> None:
        """Check the config and the models; nothing is started yet.

        The arguments are those of LeydenServer.

        Raises:
            StartupError: a model or the repository is wrong, or a file of TLS or API keys.

        """
        self._config = config.replace(gateway={"replicas": 1})
        self._report = report
        self._follow = follow
        self._reserved = address
        self._reserved_page = metrics_address
        self._reserved_web = web_address
        check_files(config.gateway)
        self._entries = build_catalog(
            config.models, repository or ModelRepository(config.model_repository)
        )
        self._stack = ExitStack()
        self._ended = threading.Event()
        self._has_started = False
        self.defect = ""
        """Why the server can no longer be relied on; empty while it can."""
        self.leaves_threads = False
        """Whether a model was being loaded as it stopped: its thread ends with the process."""
        self.address = ""
        self.metrics_url = ""
        """Of the page with metrics; empty: there is none."""
        self.web_url = ""
        """Of the HTTP door; empty: there is none."""
        self.request_log = Path()

    def __enter__(self) -> Self:
        """Return when the first request would succeed.

        Raises:
            StartupError: the address is taken, or a stage failed to load.

        """
        with ExitStack() as stack:
            gateway = self._config.gateway
            address = self._reserved or stack.enter_context(
                ReservedAddress(gateway.host, gateway.port)
            )
            self.address = str(address)
            if metrics_port(gateway) is not None:
                page = self._reserved_page or stack.enter_context(MetricsAddress(gateway))
                self._config = self._config.replace(gateway={"metrics_port": page.port})
                self.metrics_url = page.url
            if gateway.web_port is not None:
                web = self._reserved_web or stack.enter_context(WebAddress(gateway))
                self._config = self._config.replace(gateway={"web_port": web.port})
                self.web_url = web.url
            import_torch()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-"))
            self.request_log = Path(folder) / "requests.jsonl"
            self._follow(self.request_log)
            loop = stack.enter_context(_LoopThread())
            self._report(f"loading and warming up {', '.join(self._config.models)}")
            self._loop, self._server = (
                loop,
                _Server(self._config, self._entries, self.request_log),
            )
            stack.callback(self._stop)
            loop.run(partial(self._server.start, self.address))
            self._has_started = True
            loop.spawn(partial(self._server.stages.watch_health, self._fail))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def wait(self) -> None:
        """Wait for a defect that a stage cannot survive; `defect` then says which."""
        self._ended.wait()

    def ask(self, question: Callable[["InProcessStages"], Coroutine[Any, Any, Result]]) -> Result:
        """Return what a coroutine of the running stages answers."""
        return self._loop.run(partial(question, self._server.stages))

    def _stop(self) -> None:
        self.leaves_threads = self._server.is_loading
        # A stage that is being loaded as yet is not waited for: nothing was accepted.
        at_once = self.defect or not self._has_started
        try:
            self._loop.run(self._server.give_up if at_once else self._server.stop)
        except KeyboardInterrupt:
            self._loop.run(self._server.give_up)
            raise

    def _fail(self, defect: str) -> None:
        self.defect = defect
        self._ended.set()


class _Server:
    """The Gateway and the stages of all models; lives in the loop's thread."""

    def __init__(
        self, config: ServerConfig, entries: Sequence[CatalogEntry], request_log: Path
    ) -> None:
        served = [entry.model for entry in entries if entry.is_served and entry.model is not None]
        self._models = InProcessModels(config, served)
        self._config = config
        self._entries = entries
        self._request_log_folder = request_log.parent
        gateway = config.gateway
        self._log = RequestLog(
            request_log, gateway.request_log_max_bytes, gateway.request_log_backups
        )
        self._gateway: GatewayServer | None = None

    @property
    def is_loading(self) -> bool:
        """Whether a thread loads a stage, which nothing can break off."""
        return self._models.is_loading

    @property
    def stages(self) -> InProcessStages:
        """The stages that run."""
        return self._models.stages

    async def start(self, address: str) -> None:
        """Listen, load everything, and serve.

        Raises:
            StartupError: a stage failed to load.

        """
        config = self._config
        catalog = ModelCatalog(
            self._entries,
            config.gateway,
            self._models.stages_of,
            share=config.denoiser.max_ongoing_requests,
        )
        self._models.catalog = catalog
        self._gateway = GatewayServer(
            config.gateway, catalog, [self._log], replica="gateway", models=self._models
        )
        folder = self._request_log_folder / "metrics" if config.gateway.metrics_port else None
        await self._gateway.start(address, metrics_folder=folder)
        await self._models.load_first()
        await self._gateway.load()

    async def stop(self, *, drain_timeout_s: float | None = None) -> None:
        """Drain, then stop the stages; what a stage is in the midst of ends first."""
        if self._gateway is not None:
            await self._gateway.stop(drain_timeout_s)
        await self._models.stop()
        self._log.close()

    async def give_up(self) -> None:
        """End every call without waiting for a stage that may never answer."""
        if self._gateway is not None:
            await self._gateway.stop(0.0)
        self._log.close()


class _LoopThread:
    """An event loop in a thread of its own; a context manager for as long as it runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, start: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run a coroutine to its end; an interrupt meanwhile cancels it and waits for that."""
        future = asyncio.run_coroutine_threadsafe(start(), self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            with contextlib.suppress(BaseException):
                future.result()
            raise

    def spawn(self, start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine beside, until the thread ends."""
        asyncio.run_coroutine_threadsafe(start(), self._loop)


async def _cancel_all_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
