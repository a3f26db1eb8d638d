"""The models that the Gateway knows: what each accepts, its state, and which are served."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

from leyden_server.config import GatewayConfig
from leyden_server.errors import ModelNotFoundError, ModelNotLoadedError, UnavailableError
from leyden_server.generations.served_model import RETRY_AFTER_S, ServedModel
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import ModelStages

__all__ = ["CatalogEntry", "ModelCatalog", "ModelState", "ModelView", "how_to_load"]

# Of what an unknown model's error says: gRPC clients refuse metadata over 8 KiB.
MAX_NAME_CHARS = 100
MAX_NAMES = 30

ModelState = Literal["ready", "loading", "unloading", "unavailable"]

UNLOADING = "it is being unloaded; load it again once that is done"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model of the repository, as it was found."""

    name: str
    description: str
    license: str
    model: ResolvedModel | None
    """None where something that it needs is missing."""
    is_served: bool
    """Whether the server loads it as it starts."""
    unavailable_reason: str
    """Where it is not served: what is missing, and how to get it."""

    @classmethod
    def served(cls, model: ResolvedModel) -> "CatalogEntry":
        """Return the entry of a model that is served."""
        return cls(model.name, model.description, model.license, model, True, "")


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model as it is listed."""

    entry: CatalogEntry
    state: ModelState
    is_default: bool
    revision: str
    """Empty unless it is loaded."""
    unavailable_reason: str
    load_failed: bool = False
    """Whether it is not loaded because its last load failed."""


class ModelCatalog:
    """All models of the repository; the first that the server loads at its start is the default.

    It stays the default where it is unloaded. Which models come and go a `ModelControl` decides;
    the catalog says what holds now.
    """

    def __init__(
        self,
        entries: Sequence[CatalogEntry],
        config: GatewayConfig,
        stages_of: Callable[[ResolvedModel], ModelStages],
        *,
        share: int,
        default: str = "",
    ) -> None:
        """Take the models; `stages_of` gives the stages of one that is served, shared ones once.

        `default` is the name of the default model; empty: the first that is served.
        """
        self._entries = {entry.name: entry for entry in entries}
        self._config = config
        self._share = share
        self._served = {
            entry.name: self.prepare(entry.model, stages_of(entry.model))
            for entry in entries
            if entry.model is not None and entry.is_served
        }
        self._default = default or next(iter(self._served))
        self._coming: set[str] = set()
        self._going: set[str] = set()
        self._failures: dict[str, str] = {}
        self._has_started = False

    async def load(self) -> None:
        """Wait until every model that the server loads at its start is ready."""
        await asyncio.gather(*(served.load() for served in self._served.values()))
        self._has_started = True

    @property
    def is_ready(self) -> bool:
        """Whether what is loaded at the start was, and at least one model has its stages now."""
        models = self._served.values()
        return self._has_started and any(m.is_loaded and not m.problem for m in models)

    @property
    def default(self) -> str:
        """The name of the model that a request gets which names none."""
        return self._default

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """Every model that requests may have, or will have once it is loaded."""
        return tuple(self._served.values())

    def get(self, name: str) -> ServedModel:
        """Return a model that is ready.

        Raises:
            ModelNotFoundError: there is no such model.
            ModelNotLoadedError: it is not loaded, or is being unloaded.
            UnavailableError: it is still being loaded, or a stage of it is gone.

        """
        entry = self._entry(name)
        served = self._served.get(entry.name)
        if served is None and entry.name in self._coming:
            raise _loading(entry.name)
        if served is None:
            raise ModelNotLoadedError(entry.name, self._reason(entry))
        if not served.is_loaded:
            raise _loading(entry.name)
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
        return [self._view(self._entry(name)) for name in self._names]

    def describe(self, entries: Iterable[CatalogEntry]) -> None:
        """Take what the repository has now; what is served stays as it was loaded."""
        self._entries = {entry.name: entry for entry in entries}

    def prepare(self, model: ResolvedModel, stages: ModelStages) -> ServedModel:
        """Return a model as it would be served; nobody gets it before `serve`."""
        return ServedModel(model, stages, self._config, self._share)

    def note_coming(self, name: str) -> None:
        """Note that a model is being loaded."""
        self._coming.add(name)
        self._failures.pop(name, None)

    def note_failure(self, name: str, why: str) -> None:
        """Note that the load of a model has failed; one that was served before still is."""
        self._coming.discard(name)
        self._failures[name] = why

    def serve(self, served: ServedModel) -> ServedModel | None:
        """Give new requests this version from now on; return the one that they had before."""
        name = served.model.name
        self._coming.discard(name)
        self._failures.pop(name, None)
        before = self._served.get(name)
        self._served[name] = served
        return before

    def withdraw(self, name: str) -> ServedModel | None:
        """Refuse new requests of a model from now on; return what was served."""
        served = self._served.pop(name, None)
        if served is not None:
            self._going.add(name)
        return served

    def note_changes(
        self, *, coming: Set[str], going: Set[str], failures: Mapping[str, str]
    ) -> None:
        """Take what another decides: which models are loaded now, which go, and which failed."""
        self._coming, self._going = {*coming}, {*going}
        self._failures = dict(failures)

    def note_gone(self, name: str) -> None:
        """Note that a model's stages are gone."""
        self._going.discard(name)

    @property
    def _names(self) -> list[str]:
        return sorted({*self._entries, *self._served})

    def _entry(self, name: str) -> CatalogEntry:
        name = name or self._default
        served = self._served.get(name)
        if served is not None:
            return CatalogEntry.served(served.model)
        entry = self._entries.get(name)
        if entry is None:
            raise ModelNotFoundError(name[:MAX_NAME_CHARS], tuple(self._names[:MAX_NAMES]))
        return replace(entry, is_served=False) if entry.is_served else entry

    def _reason(self, entry: CatalogEntry) -> str:
        if entry.name in self._going:
            return UNLOADING
        failure = self._failures.get(entry.name)
        if failure is not None:
            return f"its last load failed: {failure}"
        # An entry that was served at the start and unloaded since has no reason of its own.
        return entry.unavailable_reason or how_to_load(entry.name)

    def _view(self, entry: CatalogEntry) -> ModelView:
        served = self._served.get(entry.name)
        is_default = entry.name == self._default
        if served is None:
            if entry.name in self._coming:
                return ModelView(entry, "loading", is_default, "", "")
            state: ModelState = "unloading" if entry.name in self._going else "unavailable"
            failed = state == "unavailable" and entry.name in self._failures
            return ModelView(entry, state, is_default, "", self._reason(entry), failed)
        if not served.is_loaded or served.problem:
            return ModelView(entry, "loading", is_default, served.revision, served.problem)
        return ModelView(entry, "ready", is_default, served.revision, "")


def how_to_load(name: str) -> str:
    """Say how a model is loaded that has only to be loaded."""
    return f"load it with 'leyden models load {name}', or start the server with --model {name}"


def _loading(name: str) -> UnavailableError:
    return UnavailableError("MODEL_LOADING", f"model {name!r} is still being loaded", RETRY_AFTER_S)
