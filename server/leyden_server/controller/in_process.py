"""The whole server in this process, without Ray: a thread a stage, and one for gRPC."""

import asyncio
import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from leyden_server.address import ReservedAddress
from leyden_server.config import ServerConfig
from leyden_server.controller.models import build_catalog
from leyden_server.controller.names import Names
from leyden_server.errors import StartupError
from leyden_server.gateway.server import GatewayServer
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.records import RequestLog
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.stages.contract import ModelStages
from leyden_server.stages.in_process import DenoiserInProcess, TextEncoderInProcess, VaeInProcess

__all__ = ["InProcessServer", "InProcessStages"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

HEALTH_CHECK_PERIOD_S = 2.0


class InProcessServer:
    """A running server, as a context manager; the same as LeydenServer is over Ray.

    Each stage has one replica, whatever the config says of replicas. A defect that a stage
    cannot survive shows in `wait`: a supervisor is to start the process again.
    """

    def __init__(
        self,
        config: ServerConfig,
        report: Callable[[str], None] = lambda _: None,
        *,
        follow: Callable[[Path], None] = lambda _: None,
        repository: ModelRepository | None = None,
        address: ReservedAddress | None = None,
    ) -> None:
        """Check the config and the models; nothing is started yet.

        The arguments are those of LeydenServer.

        Raises:
            StartupError: a model or the repository is wrong.

        """
        self._config = config.replace(gateway={"replicas": 1})
        self._report = report
        self._follow = follow
        self._reserved = address
        self._entries = build_catalog(
            config, repository or ModelRepository(config.model_repository)
        )
        self._stack = ExitStack()
        self._ended = threading.Event()
        self.defect = ""
        """Why the server can no longer be relied on; empty while it can."""
        self.address = ""
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
        try:
            self._loop.run(self._server.give_up if self.defect else self._server.stop)
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
        self.stages = InProcessStages(config)
        self._config = config
        self._entries = entries
        gateway = config.gateway
        self._log = RequestLog(
            request_log, gateway.request_log_max_bytes, gateway.request_log_backups
        )
        self._gateway: GatewayServer | None = None

    async def start(self, address: str) -> None:
        """Listen, load everything, and serve.

        Raises:
            StartupError: a stage failed to load.

        """
        config = self._config
        catalog = ModelCatalog(
            self._entries,
            config.gateway,
            self.stages.of,
            share=config.denoiser.max_ongoing_requests,
        )
        self._gateway = GatewayServer(config.gateway, catalog, [self._log], replica="gateway")
        await self._gateway.start(address)
        await self.stages.load()
        await self._gateway.load()

    async def stop(self, *, drain_timeout_s: float | None = None) -> None:
        """Drain, then stop the stages; what a stage is in the midst of ends first."""
        if self._gateway is not None:
            await self._gateway.stop(drain_timeout_s)
        await self.stages.stop()
        self._log.close()

    async def give_up(self) -> None:
        """End every call without waiting for a stage that may never answer."""
        if self._gateway is not None:
            await self._gateway.stop(0.0)
        self._log.close()


class InProcessStages:
    """The stages of all models: models of one base share its encoders and its VAE."""

    def __init__(self, config: ServerConfig) -> None:
        self.text_encoders: dict[str, TextEncoderInProcess] = {}
        self.denoisers: dict[str, DenoiserInProcess] = {}
        self.vaes: dict[str, VaeInProcess] = {}
        self._config = config

    def __iter__(self) -> Iterator[TextEncoderInProcess | DenoiserInProcess | VaeInProcess]:
        return iter((*self.text_encoders.values(), *self.denoisers.values(), *self.vaes.values()))

    def of(self, model: ResolvedModel) -> ModelStages:
        """Return a model's stages; they are not loaded by that."""
        from leyden_server.denoiser.service import DenoiseService
        from leyden_server.text_encoder.service import TextEncodingService
        from leyden_server.vae.service import VaeService

        config, names = self._config, Names(self._config.ray.instance)
        encoder, unet, vae = (
            names.text_encoder(model.text_encoder_key),
            names.denoiser(model.name),
            names.vae(model.vae_key),
        )
        load_encoder = partial(TextEncodingService, model, config.text_encoder, f"{encoder}#1")
        load_unet = partial(DenoiseService, model, config.denoiser, f"{unet}#1")
        load_vae = partial(VaeService, model, config.vae, f"{vae}#1")
        return ModelStages(
            self.text_encoders.setdefault(encoder, TextEncoderInProcess(encoder, load_encoder)),
            self.denoisers.setdefault(unet, DenoiserInProcess(unet, load_unet)),
            self.vaes.setdefault(vae, VaeInProcess(vae, load_vae)),
        )

    async def load(self) -> None:
        """Load and warm up all stages.

        Raises:
            StartupError: one of them failed; it is named.

        """
        await asyncio.to_thread(_quiet)
        # One after another: the libraries that load models change process-wide state meanwhile.
        for stage in self:
            try:
                await stage.load()
            except StartupError:
                raise
            except Exception as error:
                first_line = str(error).strip().partition("\n")[0]
                raise StartupError(
                    f"{stage.name}: {type(error).__name__}: {first_line}; where memory is what "
                    "lacks, load fewer models or set its dtype to bfloat16"
                ) from error

    async def stop(self) -> None:
        """Stop all stages."""
        for stage in self:
            await asyncio.to_thread(stage.stop)

    async def watch_health(self, fail: Callable[[str], None]) -> None:
        """Call `fail` once with what is wrong, if a stage can no longer be relied on."""
        while True:
            for stage in self:
                try:
                    stage.check_health()
                except RuntimeError as error:
                    fail(f"{stage.name}: {error}")
                    return
            await asyncio.sleep(HEALTH_CHECK_PERIOD_S)


def _quiet() -> None:
    from leyden_server.accelerator.quiet import quiet_libraries

    quiet_libraries()


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
