"""Builds the applications that a Serve config file names: KubeRay's serveConfigV2, `serve deploy`.

Each names `leyden_server.controller.serve_app:build_app`, and says in `args` which stage of which
model it is, or that it is the Gateway. `serve_config` writes such a file. What is built are the
applications that `leyden serve` deploys; but nobody holds an address for the Gateways, and whoever
owns the file decides which models there are.

Serve calls `build_app` in a task on any node, where the models' files have to be readable. It
builds an application anew, and replaces its replicas, where anything of its `args` has changed: so
they have what this application depends on and no more.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field
from ray.serve import Application

from leyden_server.address import written_address
from leyden_server.config import GatewayConfig, ServerConfig
from leyden_server.controller.applications import gateway_application
from leyden_server.controller.metrics_address import metrics_port
from leyden_server.controller.models import build_catalog
from leyden_server.controller.names import Names
from leyden_server.controller.placement import PlacedStage, Placement
from leyden_server.controller.stage_applications import (
    STAGES,
    StageName,
    WishedApplication,
    stage_application,
)
from leyden_server.errors import ConfigError
from leyden_server.generations.catalog import CatalogEntry
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.model_repository.file_marks import file_marks
from leyden_server.stages.ray_handle import SERVE_ENVIRONMENT
from leyden_server.strict_model import StrictModel

__all__ = ["GatewayArgs", "ModelStageNames", "StageArgs", "build_app", "refuse_free_ports"]


ONE_TRY = "max_constructor_retry_count"
"""The option by which `leyden serve` says at once what does not load."""


class StageArgs(StrictModel):
    """`args` of the application of a stage."""

    stage: StageName
    """Which one."""

    model: str
    """The model whose files it loads; others may share it."""

    alike: int = Field(default=1, ge=1)
    """How many replicas of this stage rest, of all of its applications. They divide the stage's
    default share of a GPU, where `num_gpus` is not set."""

    config: ServerConfig = ServerConfig()
    """Of the settings `model_repository` and the stage's own section count."""


class ModelStageNames(StrictModel):
    """The applications that a model's stages run in."""

    text_encoder: str
    """Its text encoders'."""

    denoiser: str
    """Its UNet's."""

    vae: str
    """Its VAE's."""


class GatewayArgs(StrictModel):
    """`args` of the Gateway's application."""

    stage: Literal["gateway"]
    """That it is the Gateway."""

    stages: Mapping[str, ModelStageNames]
    """By model, each of `config.models`: the applications of its stages."""

    config: ServerConfig = ServerConfig()
    """The settings of the whole server. Of how a stage scales, that it may rest counts."""


def build_app(args: dict[str, Any]) -> Application:
    """Build one application of a server; `args` are those of StageArgs or of GatewayArgs.

    Raises:
        ConfigError: `args` are wrong.
        ModelRepositoryError: the model, or one of the Gateway's, does not exist or is incomplete.

    """
    stage = args.get("stage")
    if stage == "gateway":
        wished = _gateway(GatewayArgs.from_mapping(args, "args", ConfigError))
    elif stage in STAGES:
        wished = _stage(StageArgs.from_mapping(args, "args", ConfigError))
    else:
        raise ConfigError(f"args: stage: one of {', '.join((*STAGES, 'gateway'))} (got {stage!r})")
    # A node may go while a replica loads on it, and nobody watches who would deploy again: Serve
    # is to try as often as it does by default.
    options = {key: value for key, value in wished.options.items() if key != ONE_TRY}
    return replace(wished, options=options).build(SERVE_ENVIRONMENT)


def _stage(args: StageArgs) -> WishedApplication:
    model = ModelRepository(args.config.model_repository).resolve(args.model)
    # Its name stands in the file, beside `args`.
    return stage_application("", args.stage, model, args.config, args.alike)


def _gateway(args: GatewayArgs) -> WishedApplication:
    config = args.config
    if set(args.stages) != set(config.models):
        raise ConfigError(
            f"args: stages: has {', '.join(args.stages) or 'no model'}, and config.models "
            f"{', '.join(config.models)}: the same models belong in both"
        )
    refuse_free_ports(config.gateway, "args: config.gateway")
    config = config.replace(gateway={"metrics_port": metrics_port(config.gateway)})
    catalog = build_catalog(config.models, ModelRepository(config.model_repository))
    address = written_address(config.gateway.host, config.gateway.port)
    sharer = Names(config.ray.instance).gateway
    return gateway_application(config, catalog, address, _placements(args, catalog), sharer)


def refuse_free_ports(gateway: GatewayConfig, where: str) -> None:
    """Refuse a port that each Gateway draws for itself: nobody would know it.

    Raises:
        ConfigError: one is 0; `where` is what the section is called.

    """
    page = metrics_port(gateway)
    for name, port in {
        "port": gateway.port,
        "metrics_port": page,
        "web_port": gateway.web_port,
    }.items():
        if port == 0:
            or_none = "" if name == "port" else ", or null,"
            raise ConfigError(
                f"{where}.{name}: from 1 to 65535{or_none} where nobody holds it; got 0"
            )


def _placements(args: GatewayArgs, catalog: tuple[CatalogEntry, ...]) -> tuple[Placement, ...]:
    served = [entry.model for entry in catalog if entry.is_served and entry.model is not None]
    return tuple(
        _placement(number, model, args.stages[model.name]) for number, model in enumerate(served, 1)
    )


def _placement(number: int, model: ResolvedModel, names: ModelStageNames) -> Placement:
    marks = file_marks(model)
    return Placement(
        number,
        model,
        PlacedStage(names.text_encoder, names.text_encoder, marks.text_encoder),
        PlacedStage(names.denoiser, names.denoiser, marks.denoiser),
        PlacedStage(names.vae, names.vae, marks.vae),
    )
