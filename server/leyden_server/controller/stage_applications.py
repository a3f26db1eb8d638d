"""The Serve applications of stages: what each is deployed with, and whether there is room."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.serve import Application, RunTarget
from ray.serve.schema import LoggingConfig

from leyden_server.config import ServerConfig, StageConfig
from leyden_server.controller.names import Names
from leyden_server.controller.options import gpu_share, initial_replicas, stage_options
from leyden_server.controller.placement import Placement, place
from leyden_server.controller.room import resources_of
from leyden_server.denoiser.deployment import Denoiser
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.file_marks import file_marks
from leyden_server.stages.over_ray import StageApplications
from leyden_server.stages.ray_handle import SERVE_ENVIRONMENT
from leyden_server.text_encoder.deployment import TextEncoder
from leyden_server.vae.deployment import Vae

__all__ = [
    "QUIET",
    "STAGES",
    "StageName",
    "WishedApplication",
    "applications_of",
    "first_placements",
    "lacking",
    "stage_application",
    "stage_applications",
    "targets",
]

StageName = Literal["text_encoder", "denoiser", "vae"]

STAGES: dict[StageName, Any] = {"text_encoder": TextEncoder, "denoiser": Denoiser, "vae": Vae}
"""The deployment of each stage, by its section of the settings, in a request's order."""

SETTINGS = {"CPU": "num_cpus", "GPU": "num_gpus"}

QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


@dataclass(frozen=True, slots=True)
class WishedApplication:
    """An application that is to run."""

    name: str
    deployment: Any
    options: dict[str, Any]
    replicas: int
    """Those at rest."""
    arguments: tuple[object, ...]

    def build(self, environment: dict[str, str]) -> Application:
        """Return what Serve deploys; its replicas have `environment` beside their node's."""
        options = dict(self.options)
        if environment:
            actor = {**options["ray_actor_options"], "runtime_env": {"env_vars": environment}}
            options["ray_actor_options"] = actor
        application: Application = self.deployment.options(**options).bind(*self.arguments)
        return application


def first_placements(
    config: ServerConfig, models: Iterable[ResolvedModel]
) -> tuple[Placement, ...]:
    """Return where the models run that the server loads as it starts."""
    names = Names(config.ray.instance)
    placements: list[Placement] = []
    for number, model in enumerate(models, 1):
        placements.append(place(model, file_marks(model), names, placements, number=number))
    return tuple(placements)


def stage_applications(
    config: ServerConfig, placements: Sequence[Placement]
) -> dict[str, WishedApplication]:
    """Return each stage application of these models once, by its name.

    They divide the GPU shares that the settings do not give.
    """
    stages: dict[str, tuple[StageName, ResolvedModel]] = {}
    for placement in placements:
        for kind, name in zip(STAGES, placement.applications, strict=True):
            stages.setdefault(name, (kind, placement.model))
    kinds = [kind for kind, _ in stages.values()]
    return {
        name: stage_application(name, kind, model, config, kinds.count(kind))
        for name, (kind, model) in stages.items()
    }


def stage_application(
    name: str, kind: StageName, model: ResolvedModel, config: ServerConfig, alike: int
) -> WishedApplication:
    """Return the application of a stage of a model, one of `alike` that share a GPU by default."""
    deployment = STAGES[kind]
    stage: StageConfig = getattr(config, kind)
    replicas = initial_replicas(stage)
    has_gpu = ray.cluster_resources().get("GPU", 0) > 0
    share = gpu_share(deployment.name, alike * replicas) if has_gpu else 0.0
    options = stage_options(stage, share)
    return WishedApplication(name, deployment, options, replicas, (model, stage))


def targets(config: ServerConfig, wished: Iterable[WishedApplication]) -> list[RunTarget]:
    """Return what `serve.run_many` deploys."""
    # Our own Ray's processes inherit it from the one that started them.
    environment = {} if config.ray.address == "local" else SERVE_ENVIRONMENT
    return [
        RunTarget(
            application.build(environment),
            name=application.name,
            route_prefix=None,
            logging_config=QUIET,
        )
        for application in wished
    ]


def lacking(wished: Iterable[WishedApplication], free: Mapping[str, float]) -> str:
    """Say what of Ray's resources the replicas need and do not find; empty: nothing lacks."""
    applications = list(wished)
    needs = {w.name: resources_of(w.options["ray_actor_options"]) for w in applications}
    for resource in dict.fromkeys(name for need in needs.values() for name in need):
        asked = {w.name: w.replicas * needs[w.name].get(resource, 0) for w in applications}
        total = sum(asked.values())
        if total > free.get(resource, 0) + 1e-6:
            each = ", ".join(f"{name} {value:g}" for name, value in asked.items() if value)
            setting = SETTINGS.get(resource, f"resources.{resource}")
            plural = "s" if resource in SETTINGS else ""
            return (
                f"the replicas need {total:g} {resource}{plural} and Ray has "
                f"{free.get(resource, 0):g}: {each}; lower {setting} or min_replicas of a "
                "stage, or load fewer models"
            )
    return ""


def applications_of(config: ServerConfig, placement: Placement) -> StageApplications:
    """Return the names of a model's applications, and when each may rest."""
    stages = (config.text_encoder, config.denoiser, config.vae)
    text_encoder, denoiser, vae = placement.applications
    return StageApplications(
        text_encoder=text_encoder,
        denoiser=denoiser,
        vae=vae,
        rest_after_s={
            name: stage.downscale_to_zero_delay_s
            for name, stage in zip(placement.applications, stages, strict=True)
            if stage.min_replicas == 0
        },
    )
