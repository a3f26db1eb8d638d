"""The stages of all models in this process, each there for all who share it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from leyden_server.config import ServerConfig, StageConfig
from leyden_server.controller.placement import Placement
from leyden_server.errors import StartupError
from leyden_server.stages.contract import ModelStages
from leyden_server.stages.in_process import DenoiserInProcess, TextEncoderInProcess, VaeInProcess

if TYPE_CHECKING:
    from leyden_server.accelerator.cores import Cores

__all__ = ["InProcessStages", "import_torch"]

HEALTH_CHECK_PERIOD_S = 2.0

Stage = TextEncoderInProcess | DenoiserInProcess | VaeInProcess


class InProcessStages:
    """The stages by the names that their placements give them. For one event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self.text_encoders: dict[str, TextEncoderInProcess] = {}
        self.denoisers: dict[str, DenoiserInProcess] = {}
        self.vaes: dict[str, VaeInProcess] = {}
        self._config = config
        self._cores: Cores | None = None

    def __iter__(self) -> Iterator[Stage]:
        return iter((*self.text_encoders.values(), *self.denoisers.values(), *self.vaes.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all stages that are there, loaded or not."""
        return tuple(stage.name for stage in self)

    def of(self, placement: Placement) -> ModelStages:
        """Return a model's stages; they are not loaded by that."""
        from leyden_server.denoiser.service import DenoiseService
        from leyden_server.text_encoder.service import TextEncodingService
        from leyden_server.vae.service import VaeService

        config, model = self._config, placement.model
        encoder, unet, vae = placement.applications
        load_encoder = partial(
            TextEncodingService,
            model,
            config.text_encoder,
            cores=self._cores_of(config.text_encoder),
        )
        load_unet = partial(
            DenoiseService, model, config.denoiser, cores=self._cores_of(config.denoiser)
        )
        load_vae = partial(VaeService, model, config.vae, cores=self._cores_of(config.vae))
        return ModelStages(
            self.text_encoders.setdefault(
                encoder,
                TextEncoderInProcess(encoder, load_encoder, _replicas(config.text_encoder)),
            ),
            self.denoisers.setdefault(
                unet, DenoiserInProcess(unet, load_unet, _replicas(config.denoiser))
            ),
            self.vaes.setdefault(vae, VaeInProcess(vae, load_vae, _replicas(config.vae))),
        )

    async def load(self) -> None:
        """Load and warm up all stages that are not loaded.

        Raises:
            StartupError: one of them failed; it is named.

        """
        await asyncio.to_thread(_quiet)
        # One after another: the libraries that load models change process-wide state meanwhile.
        for stage in self:
            if stage.is_loaded:
                continue
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

    async def remove(self, names: Iterable[str]) -> None:
        """Stop stages that nobody uses any more, and give their memory back."""
        removed: list[Stage] = []
        stages: dict[str, Stage]
        for name in names:
            for stages in (self.text_encoders, self.denoisers, self.vaes):  # type: ignore[assignment]
                stage = stages.pop(name, None)
                if stage is not None:
                    removed.append(stage)
        for stage in removed:
            await asyncio.to_thread(stage.stop)
        if removed:
            removed.clear()
            await asyncio.to_thread(_give_memory_back)

    async def stop(self) -> None:
        """Stop all stages."""
        for stage in self:
            await asyncio.to_thread(stage.stop)
        if self._cores is not None:
            self._cores.stop()

    def _cores_of(self, config: StageConfig) -> "Cores | None":
        """Return what shares the CPU's cores among the stages that want all of them."""
        from leyden_server.accelerator.cores import Cores
        from leyden_server.accelerator.device import runs_on_cpu

        if config.torch_threads != 0 or not runs_on_cpu():
            return None
        if self._cores is None:
            self._cores = Cores()
        return self._cores

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


def _replicas(config: StageConfig) -> int:
    """Return how many of a stage there are: nothing scales in one process, or rests."""
    return max(1, config.min_replicas)


def import_torch() -> None:
    """Import what the stages run on, which takes seconds.

    For the main thread, where a Ctrl-C breaks it off, and before there is a loop to hold up.
    """
    import leyden_server.denoiser.service
    import leyden_server.text_encoder.service
    import leyden_server.vae.service  # noqa: F401


def _quiet() -> None:
    from leyden_server.accelerator.quiet import quiet_libraries

    quiet_libraries()


def _give_memory_back() -> None:
    from leyden_server.accelerator.device import give_memory_back

    give_memory_back()
