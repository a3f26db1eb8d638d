"""Which Serve applications a server consists of: one for each stage of each model.

Models with one base share a TextEncoder and an Vae; each UNet has a Denoiser of
its own; and there is one Gateway.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.serve import RunTarget
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig

from leyden_server.config import GatewayConfig, ServerConfig, StageConfig
from leyden_server.denoiser.deployment import Denoiser
from leyden_server.errors import ModelRepositoryError, StartupError
from leyden_server.gateway.deployment import STOP_GRACE_S, Gateway
from leyden_server.generations.catalog import CatalogEntry, StageApplications
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.stages.over_ray import SERVE_ENVIRONMENT
from leyden_server.text_encoder.deployment import TextEncoder
from leyden_server.vae.deployment import Vae

__all__ = ["GATEWAY_APPLICATION", "build_applications", "build_catalog"]

GATEWAY_APPLICATION = "gateway"

DEFAULT_GPU_SHARES = {"TextEncoder": 0.1, "Denoiser": 0.6, "Vae": 0.3}
"""Where there is a GPU: together one, and the UNets have the most of it. Several models
divide each stage's share."""

HEALTH_CHECK_PERIOD_S = 2.0
"""Serve's default of 10 s would leave a dead replica unnoticed for as long."""

QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


METRICS_INTERVAL_S = 1.0
"""How often callers tell Serve their load; Serve's default of 10 s is slower than a burst."""

LOOK_BACK_PERIOD_S = 2.0
"""Over which Serve averages it; its default is 30 s. Must be over METRICS_INTERVAL_S."""


def build_catalog(config: ServerConfig, repository: ModelRepository) -> tuple[CatalogEntry, ...]:
    """Describe every model of the repository, the served ones first and in order.

    Raises:
        ModelRepositoryError: a model that is to be loaded does not exist or is incomplete.

    """
    served = [_served_entry(repository.resolve(name), config) for name in config.models]
    others = [
        _other_entry(repository, name) for name in repository.names if name not in config.models
    ]
    return (*served, *others)


def build_applications(
    config: ServerConfig, catalog: tuple[CatalogEntry, ...], address: str, request_log: Path
) -> list[RunTarget]:
    """Build what `serve.run_many` deploys; Ray must be running.

    Raises:
        StartupError: Ray has not the resources for every replica at rest.

    """
    has_gpu = ray.cluster_resources().get("GPU", 0) > 0
    targets: list[RunTarget] = []
    replicas: list[_Replicas] = []

    def add(
        name: str, deployment: Any, options: dict[str, Any], count: int, *arguments: object
    ) -> None:
        actor = options["ray_actor_options"]
        if config.ray.address != "local":  # our own Ray's processes inherit it from this one
            actor["runtime_env"] = {"env_vars": SERVE_ENVIRONMENT}
        application = deployment.options(**options).bind(*arguments)
        targets.append(RunTarget(application, name=name, route_prefix=None, logging_config=QUIET))
        replicas.append(_Replicas(name, count, actor["num_cpus"], actor["num_gpus"]))

    stages = _stages(config, catalog)
    for name, (deployment, stage, model) in stages.items():
        alike = sum(other is deployment for other, _, _ in stages.values())
        share = DEFAULT_GPU_SHARES[deployment.name] / (alike * _initial_replicas(stage))
        # Ray takes shares of a GPU in steps of 0.0001.
        options = _stage_options(stage, math.floor(share * 1e4) / 1e4 if has_gpu else 0.0)
        add(name, deployment, options, _initial_replicas(stage), model, stage)
    add(
        GATEWAY_APPLICATION,
        Gateway,
        _gateway_options(config.gateway),
        config.gateway.replicas,
        config.gateway,
        address,
        catalog,
        request_log,
    )
    _check_resources(replicas)
    return targets


@dataclass(frozen=True, slots=True)
class _Replicas:
    application: str
    count: int
    num_cpus: float
    num_gpus: float


def _check_resources(replicas: Sequence[_Replicas]) -> None:
    """Raise StartupError where Ray would wait for resources that it does not have."""
    available = ray.cluster_resources()
    for resource, setting in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        asked = {r.application: r.count * getattr(r, setting) for r in replicas}
        total = sum(asked.values())
        if total > available.get(resource, 0) + 1e-6:
            each = ", ".join(f"{name} {value:g}" for name, value in asked.items() if value)
            raise StartupError(
                f"the replicas need {total:g} {resource}s and Ray has "
                f"{available.get(resource, 0):g}: {each}; lower {setting} or min_replicas of a "
                "stage, or load fewer models"
            )


def _stages(
    config: ServerConfig, catalog: tuple[CatalogEntry, ...]
) -> dict[str, tuple[Any, StageConfig, ResolvedModel]]:
    """Return each stage application once, by its name: its deployment, settings and model."""
    stages: dict[str, tuple[Any, StageConfig, ResolvedModel]] = {}
    for entry in catalog:
        names, model = entry.applications, entry.model
        if names is not None and model is not None:
            stages.setdefault(names.text_encoder, (TextEncoder, config.text_encoder, model))
            stages.setdefault(names.denoiser, (Denoiser, config.denoiser, model))
            stages.setdefault(names.vae, (Vae, config.vae, model))
    return stages


def _served_entry(model: ResolvedModel, config: ServerConfig) -> CatalogEntry:
    base = hashlib.sha256(model.base_key.encode()).hexdigest()[:8]
    stages = {
        f"text-encoder-{base}": config.text_encoder,
        f"denoiser-{model.name}": config.denoiser,
        f"vae-{base}": config.vae,
    }
    text_encoder, denoiser, vae = stages
    return CatalogEntry(
        name=model.name,
        description=model.description,
        license=model.license,
        model=model,
        applications=StageApplications(
            text_encoder=text_encoder,
            denoiser=denoiser,
            vae=vae,
            rest_after_s={
                name: stage.downscale_to_zero_delay_s
                for name, stage in stages.items()
                if stage.min_replicas == 0
            },
        ),
        unavailable_reason="",
    )


def _other_entry(repository: ModelRepository, name: str) -> CatalogEntry:
    item = repository.items.get(name)
    description, license_ = (item.entry.description, item.entry.license) if item else ("", "")
    try:
        model, reason = repository.resolve(name), f"start the server with --model {name}"
    except ModelRepositoryError as error:
        model, reason = None, repository.for_clients(error)
    return CatalogEntry(name, description, license_, model, None, reason)


def _initial_replicas(stage: StageConfig) -> int:
    # One of a stage that rests without any too: a server that says that it is ready has
    # loaded and run everything once, and a model that cannot load is named at the start.
    return max(1, stage.min_replicas)


def _stage_options(stage: StageConfig, default_gpus: float) -> dict[str, Any]:
    num_gpus = default_gpus if stage.num_gpus is None else stage.num_gpus
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": stage.num_cpus, "num_gpus": num_gpus},
        "max_ongoing_requests": stage.max_ongoing_requests,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "graceful_shutdown_timeout_s": stage.shutdown_timeout_s,
        "graceful_shutdown_wait_loop_s": 0.1,
        # A model that does not load will not load the second time either: say so at once.
        "max_constructor_retry_count": 1,
    }
    if stage.max_replicas == stage.min_replicas:
        return {**options, "num_replicas": stage.min_replicas}
    return {
        **options,
        "autoscaling_config": AutoscalingConfig(
            min_replicas=stage.min_replicas,
            initial_replicas=_initial_replicas(stage),
            max_replicas=stage.max_replicas,
            target_ongoing_requests=stage.target_ongoing_requests,
            upscale_delay_s=stage.upscale_delay_s,
            downscale_delay_s=stage.downscale_delay_s,
            downscale_to_zero_delay_s=stage.downscale_to_zero_delay_s,
            metrics_interval_s=METRICS_INTERVAL_S,
            look_back_period_s=LOOK_BACK_PERIOD_S,
        ),
    }


def _gateway_options(gateway: GatewayConfig) -> dict[str, Any]:
    return {
        "num_replicas": gateway.replicas,
        "ray_actor_options": {"num_cpus": gateway.num_cpus, "num_gpus": 0},
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        # Longer than the drain, or Serve would kill what is still draining.
        "graceful_shutdown_timeout_s": gateway.drain_timeout_s + STOP_GRACE_S + 5.0,
        "graceful_shutdown_wait_loop_s": 0.1,
        "max_constructor_retry_count": 1,
    }
