"""Which Serve applications a server consists of: one for each stage of each model.

Models with one base share a TextEncoder and a Vae; each UNet has a Denoiser of its own; and
there is one Gateway. `leyden serve` deploys them all in one call (`build_targets`); a Serve
config file, as of KubeRay's serveConfigV2, names each (`serve_app`).
"""

import uuid
from pathlib import Path

import ray
from ray.serve import RunTarget

from leyden_server.config import ServerConfig
from leyden_server.controller.names import Names
from leyden_server.controller.options import gateway_options
from leyden_server.controller.placement import Placement
from leyden_server.controller.stage_applications import (
    WishedApplication,
    first_placements,
    lacking,
    stage_applications,
    targets,
)
from leyden_server.errors import StartupError
from leyden_server.gateway.deployment import Gateway, GatewaySetup
from leyden_server.gateway.peer_identity import PeerIdentity
from leyden_server.generations.catalog import CatalogEntry
from leyden_server.model_repository import ResolvedModel

__all__ = ["build_targets", "gateway_application", "request_log_path"]


def build_targets(
    config: ServerConfig, catalog: tuple[CatalogEntry, ...], address: str
) -> list[RunTarget]:
    """Build what `serve.run_many` deploys, the Gateway last; Ray must be running.

    `address` is held by whoever deploys.

    Raises:
        StartupError: Ray has not the resources for every replica at rest.

    """
    placements = first_placements(config, _served(catalog))
    wished = [
        *stage_applications(config, placements).values(),
        gateway_application(config, catalog, address, placements),
    ]
    lacks = lacking(wished, ray.cluster_resources())
    if lacks:
        raise StartupError(lacks)
    return targets(config, wished)


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


def gateway_application(
    config: ServerConfig,
    catalog: tuple[CatalogEntry, ...],
    address: str,
    placements: tuple[Placement, ...],
    sharer: str = "",
) -> WishedApplication:
    """Return the Gateway's application; `placements` are where the served models' stages run.

    Where `sharer` is given, the Gateways hold their address under that name themselves.
    """
    names = Names(config.ray.instance)
    return WishedApplication(
        names.gateway,
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
                directory=names.directory,
                peer_identity=PeerIdentity.new() if config.gateway.replicas > 1 else None,
                address_sharer=sharer,
            ),
        ),
    )


def _served(catalog: tuple[CatalogEntry, ...]) -> list[ResolvedModel]:
    return [entry.model for entry in catalog if entry.is_served and entry.model is not None]
