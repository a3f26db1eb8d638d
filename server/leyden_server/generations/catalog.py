"""The models that the Gateway knows: what each accepts, its state, its stages, its line."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from leyden.v1 import model_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import ModelNotFoundError, ModelNotLoadedError, UnavailableError
from leyden_server.gateway.leyden_v1.encoding import FORMAT_VALUES, SOLVER_VALUES
from leyden_server.generations.line import Admission
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DenoiserInfo
from leyden_server.stages.over_ray import RETRY_AFTER_S, Patience, StageHandle
from leyden_server.stages.replica_counts import ReplicaCounts

__all__ = ["CatalogEntry", "ModelCatalog", "ServedModel", "StageApplications"]

# Of what an unknown model's error says: gRPC clients refuse metadata over 8 KiB.
MAX_NAME_CHARS = 100
MAX_NAMES = 30


@dataclass(frozen=True, slots=True)
class StageApplications:
    """Names of the Serve applications that a model's stages run in."""

    text_encoder: str
    denoiser: str
    vae: str
    rest_after_s: Mapping[str, float] = field(default_factory=dict)
    """Of those that may rest without a replica: after how many seconds of no request."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One model of the repository, as the launcher found it."""

    name: str
    description: str
    license: str
    model: ResolvedModel | None
    """None where something that it needs is missing."""
    applications: StageApplications | None
    """None where the server does not load it."""
    unavailable_reason: str


class _StageHandles:
    """One handle for each application: models that share a stage share what is known of it."""

    def __init__(self, config: GatewayConfig) -> None:
        self._patience = Patience(config.stage_stall_timeout_s, config.stage_start_timeout_s)
        self._replicas = ReplicaCounts()
        self._handles: dict[str, StageHandle] = {}

    def get(self, application: str, deployment: str, rest_after_s: float | None) -> StageHandle:
        """Return the application's handle; the first call makes it."""
        handle = self._handles.get(application)
        if handle is None:
            handle = StageHandle(
                application, deployment, self._patience, self._replicas, rest_after_s
            )
            self._handles[application] = handle
        return handle


class ServedModel:
    """A model that this server loads."""

    def __init__(
        self,
        model: ResolvedModel,
        applications: StageApplications,
        config: GatewayConfig,
        handles: _StageHandles,
    ) -> None:
        def handle(application: str, deployment: str) -> StageHandle:
            return handles.get(application, deployment, applications.rest_after_s.get(application))

        self.model = model
        self.admission = Admission(
            config.max_waiting_images, config.max_open_images, self._expected_start_s
        )
        self.text_encoder = handle(applications.text_encoder, "TextEncoder")
        self.denoiser = handle(applications.denoiser, "Denoiser")
        self.vae = handle(applications.vae, "Vae")
        self.info: DenoiserInfo | None = None

    async def load(self) -> None:
        """Wait until all three stages are warmed up."""
        stages = (self.denoiser, self.text_encoder, self.vae)
        self.info, *_ = await asyncio.gather(*(stage.ready() for stage in stages))
        factor = self.model.vae_scale_factor
        native = (self.model.width_px // factor) * (self.model.height_px // factor)
        self.admission.row_cap = self.info.batch_row_caps[native]

    async def wake(self) -> None:
        """Have every stage started that rests, side by side; return once they are asked."""
        stages = (self.text_encoder, self.denoiser, self.vae)
        await asyncio.gather(*(stage.wake() for stage in stages))

    def _expected_start_s(self) -> float | None:
        # Until the first denoise step: the decoder's start is over before it is needed, or
        # shows in the time of the loop.
        starts = [stage.expected_start_s() for stage in (self.text_encoder, self.denoiser)]
        known = [start_s for start_s in starts if start_s is not None]
        return max(known) if len(known) == len(starts) else None


class ModelCatalog:
    """All models of the repository; the first served one is the default."""

    def __init__(self, entries: tuple[CatalogEntry, ...], config: GatewayConfig) -> None:
        self._entries = {entry.name: entry for entry in entries}
        handles = _StageHandles(config)
        self._served = {
            entry.name: ServedModel(entry.model, entry.applications, config, handles)
            for entry in entries
            if entry.model is not None and entry.applications is not None
        }
        self._default = next(iter(self._served))
        self._max_image_count = config.max_image_count

    async def load(self) -> None:
        """Wait until every served model is ready."""
        await asyncio.gather(*(served.load() for served in self._served.values()))

    def get(self, name: str) -> ServedModel:
        """Return a model that is ready.

        Raises:
            ModelNotFoundError: there is no such model.
            ModelNotLoadedError: the server does not load it.
            UnavailableError: it is still being loaded.

        """
        entry = self._entry(name)
        served = self._served.get(entry.name)
        if served is None:
            raise ModelNotLoadedError(entry.name, entry.unavailable_reason)
        if served.info is None:
            raise UnavailableError(
                "MODEL_LOADING", f"model {entry.name!r} is still being loaded", RETRY_AFTER_S
            )
        return served

    def describe(self, name: str) -> pb.Model:
        """Return a model's description.

        Raises:
            ModelNotFoundError: there is no such model.

        """
        return self._describe(self._entry(name))

    def describe_all(self) -> list[pb.Model]:
        """Return all models' descriptions, by name."""
        return [self._describe(entry) for _, entry in sorted(self._entries.items())]

    def _entry(self, name: str) -> CatalogEntry:
        entry = self._entries.get(name or self._default)
        if entry is None:
            raise ModelNotFoundError(
                name[:MAX_NAME_CHARS], tuple(sorted(self._entries)[:MAX_NAMES])
            )
        return entry

    def _describe(self, entry: CatalogEntry) -> pb.Model:
        served = self._served.get(entry.name)
        description = pb.Model(
            name=entry.name,
            description=entry.description,
            license=entry.license,
            is_default=entry.name == self._default,
            unavailable_reason=entry.unavailable_reason,
            max_image_count=self._max_image_count,
            output_formats=list(FORMAT_VALUES.values()),
        )
        if entry.model is not None:
            _fill_limits(description, entry.model)
        if served is None:
            description.state = pb.MODEL_STATE_UNAVAILABLE
        elif served.info is None:
            description.state = pb.MODEL_STATE_LOADING
        else:
            description.state = pb.MODEL_STATE_READY
            description.revision = served.info.revision
        return description


def _fill_limits(description: pb.Model, model: ResolvedModel) -> None:
    description.default_width_px = model.width_px
    description.default_height_px = model.height_px
    description.min_size_px = model.min_size_px
    description.max_size_px = model.max_size_px
    description.size_multiple_px = model.vae_scale_factor
    description.default_num_inference_steps = model.steps.default
    description.min_num_inference_steps = model.steps.min
    description.max_num_inference_steps = model.steps.max
    description.default_guidance_scale = model.default_guidance_scale
    description.min_guidance_scale = model.min_guidance_scale
    description.max_guidance_scale = model.max_guidance_scale
    description.solvers.extend(SOLVER_VALUES[solver] for solver in model.solvers)
    description.max_prompt_tokens = model.max_prompt_tokens
    description.previews = model.preview is not None
