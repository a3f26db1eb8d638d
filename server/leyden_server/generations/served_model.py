"""A model that is loaded, or is being loaded: its stages, its line, and who uses them."""

import asyncio
from collections.abc import Callable

from leyden_server.config import GatewayConfig
from leyden_server.errors import UnavailableError
from leyden_server.generations.line import Line, LineLimits
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DenoiserInfo, ModelStages

__all__ = ["RETRY_AFTER_S", "ServedModel", "Use"]

RETRY_AFTER_S = 5.0
"""When to come back to a model that is being loaded, or has lost a stage."""


class Use:
    """One request's hold on a model: while there is any, its stages stay."""

    def __init__(self, model: "ServedModel", end: Callable[[Exception], None]) -> None:
        """`end` ends the request with an error, where the model can wait no longer."""
        self._model = model
        self.end = end

    def leave(self) -> None:
        """Need the model no more; harmless where it is called again."""
        self._model._leave(self)


class ServedModel:
    """One version of a model: its stages, and its line at this Gateway."""

    def __init__(
        self, model: ResolvedModel, stages: ModelStages, config: GatewayConfig, share: int
    ) -> None:
        """`share`: images that one replica of the denoiser is to hold of this Gateway."""
        self.model = model
        self.stages = stages
        self.text_encoder, self.denoiser, self.vae = (
            stages.text_encoder,
            stages.denoiser,
            stages.vae,
        )
        self.line = Line(
            LineLimits(config.max_waiting_images, config.max_open_images),
            share=lambda: share * max(1, stages.denoiser.replicas),
            replicas=lambda: stages.denoiser.replicas,
            expected_start_s=self._expected_start_s,
            alone=config.replicas == 1,
        )
        self._info: DenoiserInfo | None = None
        self._uses: set[Use] = set()
        self._is_unused = asyncio.Event()
        self._is_unused.set()

    @property
    def is_loaded(self) -> bool:
        """Whether all of its stages were there once."""
        return self._info is not None

    @property
    def revision(self) -> str:
        """Identifies the UNet's weights; empty until they are loaded."""
        return "" if self._info is None else self._info.revision

    @property
    def problem(self) -> str:
        """Which stage is gone; empty where none is."""
        return next((stage.problem for stage in self.stages if stage.problem), "")

    @property
    def starts(self) -> bool:
        """Whether a stage that it needs has no replica and is getting one."""
        return any(stage.starts for stage in self.stages)

    async def load(self) -> None:
        """Wait until all three stages are warmed up."""
        info, *_ = await asyncio.gather(
            self.denoiser.ready(), self.text_encoder.ready(), self.vae.ready()
        )
        factor = self.model.vae_scale_factor
        native = (self.model.width_px // factor) * (self.model.height_px // factor)
        self.line.row_cap = info.batch_row_caps[native]
        self._info = info

    async def wake(self) -> None:
        """Have every stage started that rests, side by side; return once they are asked."""
        await asyncio.gather(*(stage.wake() for stage in self.stages))

    def use(self, end: Callable[[Exception], None]) -> Use:
        """Take hold of the model for a request."""
        use = Use(self, end)
        self._uses.add(use)
        self._is_unused.clear()
        return use

    async def drain(self, timeout_s: float | None) -> None:
        """Wait until no request uses it; those that do after the time end as UNAVAILABLE.

        None: however long they take. Nobody may take hold of it any more.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_unused.wait()
        except TimeoutError:
            for use in [*self._uses]:
                use.end(
                    UnavailableError(
                        "MODEL_UNLOADED",
                        f"model {self.model.name!r} was unloaded, and this took longer than "
                        "the drain",
                        RETRY_AFTER_S,
                    )
                )
            await self._is_unused.wait()

    def _leave(self, use: Use) -> None:
        self._uses.discard(use)
        if not self._uses:
            self._is_unused.set()

    def _expected_start_s(self) -> float | None:
        # Until the first denoise step: the decoder's start is over before it is needed, or
        # shows in the time of the loop.
        starts = [stage.expected_start_s() for stage in (self.text_encoder, self.denoiser)]
        known = [start_s for start_s in starts if start_s is not None]
        return max(known) if len(known) == len(starts) else None
