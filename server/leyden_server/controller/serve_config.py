"""Writes a Serve config file out of Leyden's settings: for KubeRay's serveConfigV2, `serve deploy`.

No weights are looked at, so it may be written anywhere; folders and files are those of the machines
that it is deployed to.

How a stage scales stands under its `deployments`, apart from its `args`: Serve keeps the replicas
where that changes, and replaces them where `args` do. It also replaces them where one of
`num_replicas` and `autoscaling_config` takes the other's place (Ray Serve 2.60), so it is always
the latter.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from leyden_server.config import ServerConfig, StageConfig
from leyden_server.controller.names import Names
from leyden_server.controller.options import autoscaling, initial_replicas
from leyden_server.controller.serve_app import build_app, refuse_free_ports
from leyden_server.controller.serve_schema import faults_of
from leyden_server.controller.shared_stages import StageOwners, stage_owners
from leyden_server.controller.stage_applications import QUIET, STAGES, StageName
from leyden_server.errors import ConfigError
from leyden_server.model_repository import ModelRepository

__all__ = ["serve_config"]

SCALING = frozenset(
    {
        "min_replicas",
        "max_replicas",
        "target_ongoing_requests",
        "upscale_delay_s",
        "downscale_delay_s",
        "downscale_to_zero_delay_s",
    }
)
"""Settings of a stage that its deployment's options say."""

RESTING = frozenset({"min_replicas", "downscale_to_zero_delay_s"})
"""Those of them by which a Gateway knows a stage that rests from one that is gone."""


def serve_config(config: ServerConfig, repository: ModelRepository | None = None) -> dict[str, Any]:
    """Return a Serve config that runs the server.

    It has every setting that is not the default; paths become absolute.

    Raises:
        ConfigError: the settings are none for a Serve config.
        ModelRepositoryError: a model that is to be loaded does not exist.

    """
    if config.in_process:
        raise ConfigError("in_process: a Serve config deploys each stage on its own; leave it out")
    refuse_free_ports(config.gateway, "gateway")
    models = repository or ModelRepository(config.model_repository)
    owners = stage_owners([models.item(name) for name in config.models])
    folders = [str(folder.absolute()) for folder in config.model_repository]
    changed = config.replace(model_repository=folders).model_dump(
        mode="json", exclude_defaults=True
    )
    names = Names(config.ray.instance)
    stages = _stages(config, changed, owners, names)
    written = {
        "proxy_location": "Disabled",
        "logging_config": _logging(),
        "applications": [
            *stages,
            _application(names.gateway, _gateway_args(config, changed, owners, names)),
        ],
    }
    faults = faults_of(written)
    if faults:
        raise ConfigError("\n".join(faults))
    return written


def _stages(
    config: ServerConfig,
    changed: dict[str, Any],
    owners: Mapping[str, StageOwners],
    names: Names,
) -> list[dict[str, Any]]:
    """Return each stage's application once, in the order in which a model goes through them."""
    alike = {
        kind: len({getattr(of, kind) for of in owners.values()})
        * initial_replicas(getattr(config, kind))
        for kind in STAGES
    }
    found: dict[str, dict[str, Any]] = {}
    for of in owners.values():
        for kind in STAGES:
            owner: str = getattr(of, kind)
            name = names.of_stage(kind, owner)
            if name not in found:
                args = _stage_args(config, changed, kind, owner, alike[kind])
                options = {"name": STAGES[kind].name, **autoscaling(getattr(config, kind))}
                found[name] = _application(name, args, options)
    return [*found.values()]


def _stage_args(
    config: ServerConfig, changed: dict[str, Any], kind: StageName, model: str, alike: int
) -> dict[str, Any]:
    args: dict[str, Any] = {"stage": kind, "model": model}
    stage: StageConfig = getattr(config, kind)
    if stage.num_gpus is None and alike > 1:
        args["alike"] = alike
    kept = {key: changed[key] for key in ("model_repository",) if key in changed}
    section = _without(changed.get(kind, {}), SCALING)
    if section:
        kept[kind] = section
    return {**args, "config": kept} if kept else args


def _gateway_args(
    config: ServerConfig,
    changed: dict[str, Any],
    owners: Mapping[str, StageOwners],
    names: Names,
) -> dict[str, Any]:
    kept = dict(changed)
    for kind in STAGES:
        stage: StageConfig = getattr(config, kind)
        left_out = SCALING - RESTING if stage.min_replicas == 0 else SCALING
        section = _without(kept.pop(kind, {}), left_out)
        if section:
            kept[kind] = section
    stages = {
        model: {kind: names.of_stage(kind, getattr(of, kind)) for kind in STAGES}
        for model, of in owners.items()
    }
    return {"stage": "gateway", "stages": stages, **({"config": kept} if kept else {})}


def _without(section: dict[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    """Return a copy of its own: YAML would write what stands in two places as an alias."""
    return {key: deepcopy(value) for key, value in section.items() if key not in keys}


def _application(name: str, args: dict[str, Any], *deployments: dict[str, Any]) -> dict[str, Any]:
    written = {
        "name": name,
        "route_prefix": None,  # two applications of one prefix are refused, and none is needed
        "import_path": f"{build_app.__module__}:{build_app.__name__}",
        "args": args,
        "deployments": [*deployments],
        "logging_config": _logging(),
    }
    return written if deployments else _without(written, frozenset({"deployments"}))


def _logging() -> dict[str, Any]:
    return {"log_level": QUIET.log_level, "enable_access_log": QUIET.enable_access_log}
