"""The models that the Gateway knows: what each accepts, its state, its stages, its line."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from leyden_server.config import GatewayConfig
from leyden_server.errors import ModelNotFoundError, ModelNotLoadedError, UnavailableError
from leyden_server.generations.line import Line, LineLimits
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DenoiserInfo, ModelStages

__all__ = ["CatalogEntry", "ModelCatalog", "ModelView", "ServedModel"]

# Of what an unknown model's error says: gRPC clients refuse metadata over 8 KiB.
MAX_NAME_CHARS = 100
MAX_NAMES = 30

RETRY_AFTER_S = 5.0
"""When to come back to a model that is being loaded, or has lost a stage."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model of the repository, as it was found."""

    name: str
    description: str
    license: str
    model: ResolvedModel | None
    """None where something that it needs is missing."""
    is_served: bool
    """Whether the server loads it."""
    unavailable_reason: str
    """Where it is not served: what is missing, and how to get it."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model as it is listed."""

    entry: CatalogEntry
    state: Literal["ready", "loading", "unavailable"]
    is_default: bool
    revision: str
    """Empty unless it is loaded."""
    unavailable_reason: str


class ServedModel:
    """A model that this server loads: its stages, and its line at this Gateway."""

    def __init__(
        self, model: ResolvedModel, stages: ModelStages, config: GatewayConfig, share: int
    ) -> None:
        """`share`: images that one replica of the denoiser is to hold of this Gateway."""
        self.model = model
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
        self._stages = stages
        self._info: DenoiserInfo | None = None

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
        return next((stage.problem for stage in self._stages if stage.problem), "")

    @property
    def starts(self) -> bool:
        """Whether a stage that it needs has no replica and is getting one."""
        return any(stage.starts for stage in self._stages)

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
        await asyncio.gather(*(stage.wake() for stage in self._stages))

    def _expected_start_s(self) -> float | None:
        # Until the first denoise step: the decoder's start is over before it is needed, or
        # shows in the time of the loop.
        starts = [stage.expected_start_s() for stage in (self.text_encoder, self.denoiser)]
        known = [start_s for start_s in starts if start_s is not None]
        return max(known) if len(known) == len(starts) else None


class ModelCatalog:
    """All models of the repository; the first served one is the default."""

    def __init__(
        self,
        entries: Sequence[CatalogEntry],
        config: GatewayConfig,
        stages_of: Callable[[ResolvedModel], ModelStages],
        *,
        share: int,
    ) -> None:
        """Take the models; `stages_of` gives a served model's stages, shared ones once."""
        self._entries = {entry.name: entry for entry in entries}
        self._served = {
            entry.name: ServedModel(entry.model, stages_of(entry.model), config, share)
            for entry in entries
            if entry.model is not None and entry.is_served
        }
        self._default = next(iter(self._served))

    async def load(self) -> None:
        """Wait until every served model is ready."""
        await asyncio.gather(*(served.load() for served in self._served.values()))

    @property
    def is_ready(self) -> bool:
        """Whether all served models were loaded, and at least one has its stages now."""
        models = self._served.values()
        return all(model.is_loaded for model in models) and not all(
            model.problem for model in models
        )

    def get(self, name: str) -> ServedModel:
        """Return a model that is ready.

        Raises:
            ModelNotFoundError: there is no such model.
            ModelNotLoadedError: the server does not load it.
            UnavailableError: it is still being loaded, or a stage of it is gone.

        """
        entry = self._entry(name)
        served = self._served.get(entry.name)
        if served is None:
            raise ModelNotLoadedError(entry.name, entry.unavailable_reason)
        if not served.is_loaded:
            raise UnavailableError(
                "MODEL_LOADING", f"model {entry.name!r} is still being loaded", RETRY_AFTER_S
            )
        if served.problem:
            raise UnavailableError(
                "STAGE_GONE", f"model {entry.name!r}: {served.problem}", RETRY_AFTER_S
            )
        return served

    def view(self, name: str) -> ModelView:
        """Return a model as it is listed.

        Raises:
            ModelNotFoundError: there is no such model.

        """
        return self._view(self._entry(name))

    def view_all(self) -> list[ModelView]:
        """Return all models as they are listed, by name."""
        return [self._view(entry) for _, entry in sorted(self._entries.items())]

    def _entry(self, name: str) -> CatalogEntry:
        entry = self._entries.get(name or self._default)
        if entry is None:
            raise ModelNotFoundError(
                name[:MAX_NAME_CHARS], tuple(sorted(self._entries)[:MAX_NAMES])
            )
        return entry

    def _view(self, entry: CatalogEntry) -> ModelView:
        served = self._served.get(entry.name)
        is_default = entry.name == self._default
        if served is None:
            return ModelView(entry, "unavailable", is_default, "", entry.unavailable_reason)
        if not served.is_loaded or served.problem:
            return ModelView(entry, "loading", is_default, served.revision, served.problem)
        return ModelView(entry, "ready", is_default, served.revision, "")
