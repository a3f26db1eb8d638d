"""Which Serve applications a server consists of: one for each stage of each model.

Models with one base share a TextEncoder and a Vae; each UNet has a Denoiser of its own; and
there is one Gateway. `leyden serve` deploys them all in one call (`build_targets`); a Serve
config file, as of KubeRay's serveConfigV2, names each by `build_app` (`serve_config`).
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.serve import Application, RunTarget

from leyden_server.address import written_address
from leyden_server.config import ServerConfig
from leyden_server.controller.metrics_address import metrics_port
from leyden_server.controller.models import build_catalog
from leyden_server.controller.names import Names
from leyden_server.controller.options import gateway_options
from leyden_server.controller.placement import Placement
from leyden_server.controller.stage_applications import (
    QUIET,
    WishedApplication,
    first_placements,
    lacking,
    stage_applications,
    targets,
)
from leyden_server.errors import ConfigError, StartupError
from leyden_server.gateway.deployment import Gateway, GatewaySetup
from leyden_server.gateway.peer_identity import PeerIdentity
from leyden_server.generations.catalog import CatalogEntry
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.stages.ray_handle import SERVE_ENVIRONMENT
from leyden_server.strict_model import StrictModel

__all__ = [
    "AppArgs",
    "build_app",
    "build_targets",
    "request_log_path",
    "serve_config",
]


class AppArgs(StrictModel):
    """`args` of an application in a Serve config file."""

    application: str
    """Its name, as `serve_config` gives it."""

    config: ServerConfig = ServerConfig()
    """The settings of the whole server, the same for each of its applications."""


def build_targets(
    config: ServerConfig, catalog: tuple[CatalogEntry, ...], address: str
) -> list[RunTarget]:
    """Build what `serve.run_many` deploys, the Gateway last; Ray must be running.

    `address` is held by whoever deploys.

    Raises:
        StartupError: Ray has not the resources for every replica at rest.

    """
    wished = _wished(config, catalog, address)
    lacks = lacking(wished, ray.cluster_resources())
    if lacks:
        raise StartupError(lacks)
    return targets(config, wished)


def build_app(args: dict[str, Any]) -> Application:
    """Build one application of a server, by its name, where a Serve config file asks for it.

    `args` are those of AppArgs. Each Gateway holds its address itself.

    Raises:
        ConfigError: `args` are wrong, or the server has no such application.
        ModelRepositoryError: a model that is to be loaded does not exist or is incomplete.

    """
    checked = AppArgs.from_mapping(args, "args", ConfigError)
    config = checked.config
    host, port = config.gateway.host, config.gateway.port
    if port == 0:
        raise ConfigError("args: config.gateway.port: from 1 to 65535 where nobody holds it; got 0")
    if metrics_port(config.gateway) == 0:
        raise ConfigError(
            "args: config.gateway.metrics_port: from 1 to 65535, or null, where nobody holds it; "
            "got 0"
        )
    if config.gateway.web_port == 0:
        raise ConfigError(
            "args: config.gateway.web_port: from 1 to 65535, or null, where nobody holds it; got 0"
        )
    config = config.replace(gateway={"metrics_port": metrics_port(config.gateway)})
    catalog = build_catalog(config.models, ModelRepository(config.model_repository))
    sharer = Names(config.ray.instance).gateway
    applications = _wished(config, catalog, written_address(host, port), sharer)
    wished = {application.name: application for application in applications}
    if checked.application not in wished:
        raise ConfigError(
            f"args: application: no {checked.application!r}; this config has {', '.join(wished)}"
        )
    return wished[checked.application].build(SERVE_ENVIRONMENT)


def serve_config(config: ServerConfig) -> dict[str, Any]:
    """Return a Serve config (serveConfigV2, `serve deploy`) that runs the server.

    It has every setting that is not the default; folders become absolute.

    Raises:
        ModelRepositoryError: a model that is to be loaded does not exist or is incomplete.

    """
    catalog = build_catalog(config.models, ModelRepository(config.model_repository))
    folders = [str(folder.resolve()) for folder in config.model_repository]
    changed = config.replace(model_repository=folders).model_dump(
        mode="json", exclude_defaults=True
    )
    logging = {"log_level": QUIET.log_level, "enable_access_log": QUIET.enable_access_log}
    return {
        "proxy_location": "Disabled",
        "logging_config": logging,
        "applications": [
            {
                "name": name,
                "route_prefix": None,
                "import_path": f"{__name__}:{build_app.__name__}",
                "args": {"application": name, "config": changed},
                "logging_config": logging,
            }
            for name in [
                *_stage_names(first_placements(config, _served(catalog))),
                Names(config.ray.instance).gateway,
            ]
        ],
    }


def request_log_path(config: ServerConfig) -> Path:
    """Return the request log of a Ray that this process has joined, below its own logs."""
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    return logs / config.ray.instance / "requests.jsonl"


def _metrics_folder(config: ServerConfig) -> Path | None:
    """Return a folder for this start of the server; None: it shows no metrics."""
    if config.gateway.metrics_port is None:
        return None
    return request_log_path(config).parent / f"metrics-{uuid.uuid4().hex}"


def _web_folder(config: ServerConfig) -> Path | None:
    """Return a folder for this start of the server; None: it has no HTTP door."""
    if config.gateway.web_port is None:
        return None
    return request_log_path(config).parent / f"web-{uuid.uuid4().hex}"


def _wished(
    config: ServerConfig, catalog: tuple[CatalogEntry, ...], address: str, sharer: str = ""
) -> list[WishedApplication]:
    """Return every application, the Gateway last.

    Where `sharer` is given, the Gateways hold their address under that name themselves.
    """
    placements = first_placements(config, _served(catalog))
    gateway = WishedApplication(
        Names(config.ray.instance).gateway,
        Gateway,
        gateway_options(config.gateway),
        config.gateway.replicas,
        (
            GatewaySetup(
                config=config.gateway,
                address=address,
                entries=catalog,
                request_log=request_log_path(config),
                metrics_folder=_metrics_folder(config),
                web_folder=_web_folder(config),
                share=max(1, config.denoiser.max_ongoing_requests // config.gateway.replicas),
                server=config,
                placements=placements,
                directory=Names(config.ray.instance).directory,
                peer_identity=PeerIdentity.new() if config.gateway.replicas > 1 else None,
                address_sharer=sharer,
            ),
        ),
    )
    return [*stage_applications(config, placements).values(), gateway]


def _served(catalog: tuple[CatalogEntry, ...]) -> list[ResolvedModel]:
    return [entry.model for entry in catalog if entry.is_served and entry.model is not None]


def _stage_names(placements: Sequence[Placement]) -> list[str]:
    """Return each application once, in the order in which a model goes through them."""
    return list(dict.fromkeys(name for one in placements for name in one.applications))
