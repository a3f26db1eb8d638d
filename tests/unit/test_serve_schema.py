"""What Ray drops in silence is said; each mistake is one in a config that is right without it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from leyden_server.config import ServerConfig
from leyden_server.controller.serve_config import serve_config
from leyden_server.controller.serve_schema import faults_of

LIGHTNING, BASE = "sdxl-lightning-4step", "sdxl-base"

RIGHT = serve_config(
    ServerConfig().replace(
        models=[LIGHTNING, BASE],
        gateway={"replicas": 2, "max_replicas_per_node": 1, "resources": {"leyden_gateway": 1}},
        denoiser={"num_gpus": 1, "resources": {"leyden_denoiser": 1}, "max_replicas": 8},
    )
)
ENCODER, DENOISER, VAE, _, GATEWAY = range(5)


def at(number: int, *path: str | int) -> Callable[[dict[str, Any]], Any]:
    """Return what finds a part of an application."""

    def find(config: dict[str, Any]) -> Any:
        found = config["applications"][number]
        for part in path:
            found = found[part]
        return found

    return find


def whole(config: dict[str, Any]) -> Any:
    return config


SCALING = at(DENOISER, "deployments", 0, "autoscaling_config")
DEPLOYMENT = at(DENOISER, "deployments", 0)
ARGS = at(DENOISER, "args")


def test_what_the_command_writes_is_right() -> None:
    assert faults_of(RIGHT) == []


@pytest.mark.parametrize(
    ("where", "change", "said"),
    [
        (whole, {"proxy_locatoin": "Disabled"}, "proxy_locatoin: unknown key"),
        (whole, {"http_options": {"hst": "x"}}, "http_options.hst: unknown key"),
        (whole, {"grpc_options": {"prt": 1}}, "grpc_options.prt: unknown key"),
        (at(DENOISER), {"import_pth": "x"}, "applications[1].import_pth: unknown key"),
        (at(DENOISER), {"logging_config": {"log_lvl": 1}}, "logging_config.log_lvl: unknown key"),
        (DEPLOYMENT, {"num_replica": 1}, "deployments[0].num_replica: unknown key; the nearest"),
        (DEPLOYMENT, {"ray_actor_options": {"num_cpu": 1}}, "ray_actor_options.num_cpu: unknown"),
        (SCALING, {"min_replica": 1}, "autoscaling_config.min_replica: unknown key"),
        (SCALING, {"policy": {"policy_functoin": "x"}}, "policy.policy_functoin: unknown key"),
        (SCALING, {"min_replicas": 9}, "max_replicas (8) must be greater than or equal"),
        (SCALING, {"max_replicas": "8"}, "autoscaling_config.max_replicas: Input should be a"),
        (DEPLOYMENT, {"num_replicas": 2}, "deployments[0]: Manually setting num_replicas"),
        (DEPLOYMENT, {"max_ongoing_requests": "7"}, "max_ongoing_requests: Input should be a"),
        (DEPLOYMENT, {"name": "Denoisr"}, "'Denoiser' is this application's only deployment"),
        (
            at(DENOISER),
            {"deployments": [{"name": "Denoiser"}] * 2},
            "deployments[1].name: 'Denoiser' is named twice",
        ),
        (at(DENOISER), {"deployments": ["Denoiser"]}, "deployments[0]: a mapping belongs here"),
        (at(DENOISER), {"name": f"leyden-vae-{LIGHTNING}"}, "multiple configs for application"),
        (at(DENOISER), {"import_path": "leyden"}, 'Got invalid import path "leyden"'),
        (at(DENOISER), {"import_path": "leyden_server.nothing:app"}, "cannot be imported: No mod"),
        (
            at(DENOISER),
            {"import_path": "leyden_server.controller.serve_app:build"},
            "leyden_server.controller.serve_app has no 'build'",
        ),
        (at(DENOISER), {"route_prefix": "denoiser"}, "route_prefix: begins with /"),
        (at(DENOISER), {"route_prefix": "/denoiser/"}, "route_prefix: begins with / and ends"),
        (ARGS, {"modle": "x"}, "applications[1].args: modle: unknown key"),
        (ARGS, {"stage": "unet"}, "applications[1].args: stage: Input should be 'text_encoder'"),
        (ARGS, {"config": {"denoiser": {"num_gpu": 1}}}, "config.denoiser.num_gpu: unknown key"),
        (
            at(GATEWAY, "args", "stages", BASE),
            {"vae": "leyden-vae"},
            "applications[4].args.stages.sdxl-base.vae: no application 'leyden-vae' of that stage",
        ),
        (
            at(GATEWAY, "args", "stages", BASE),
            {"vae": f"leyden-text-encoder-{LIGHTNING}"},
            "of that stage; there is leyden-vae-sdxl-lightning-4step",
        ),
        (at(GATEWAY, "args", "config"), {"models": [BASE]}, "applications[4].args.stages: of the"),
        (whole, {"applications": "all"}, "applications: a mapping belongs here"),
        (whole, {"applications": None}, "applications: Input should be a valid"),
    ],
)
def test_one_mistake_is_named(
    where: Callable[[dict[str, Any]], Any], change: dict[str, Any], said: str
) -> None:
    config = deepcopy(RIGHT)
    where(config).update(change)
    (fault,) = faults_of(config)
    assert said in fault


@pytest.mark.parametrize("prefix", ["/", None])
def test_two_applications_need_two_prefixes(prefix: str | None) -> None:
    config = deepcopy(RIGHT)
    for application in config["applications"][:2]:
        application["route_prefix"] = prefix
        if prefix is None:
            del application["route_prefix"]  # which Ray reads as "/"
    (fault,) = faults_of(config)
    assert 'duplicate applications for route prefix "/"' in fault


@pytest.mark.parametrize("config", [None, [], "applications: []"])
def test_what_is_no_config_is_named(config: object) -> None:
    (fault,) = faults_of(config)
    assert "a mapping with `applications` belongs here" in fault
