"""What Ray Serve is told of each deployment: resources, replicas, scaling, ends."""

import math
from collections.abc import Mapping
from typing import Any

from leyden_server.config import GatewayConfig, StageConfig
from leyden_server.gateway.server import STOP_GRACE_S
from leyden_server.generations.line import OVERCOMMIT

__all__ = [
    "autoscaling",
    "gateway_options",
    "gpu_share",
    "initial_replicas",
    "scaling",
    "stage_options",
    "stop_s",
]

DEFAULT_GPU_SHARES = {"TextEncoder": 0.1, "Denoiser": 0.6, "Vae": 0.3}
"""Where there is a GPU: together one, and the UNets have the most of it. Several models
divide each stage's share."""

HEALTH_CHECK_PERIOD_S = 2.0
"""Serve's default of 10 s would leave a dead replica unnoticed for as long."""

METRICS_INTERVAL_S = 1.0
"""How often callers tell Serve their load; Serve's default of 10 s is slower than a burst."""

LOOK_BACK_PERIOD_S = 2.0
"""Over which Serve averages it; its default is 30 s. Must be over METRICS_INTERVAL_S."""


GATEWAY_STOP_S = STOP_GRACE_S + 5.0
"""How much longer than its drain a Gateway may take to end; Serve kills it then."""


def gpu_share(deployment: str, replicas: int) -> float:
    """Return a replica's share of a GPU where the settings name none.

    `replicas` are those at rest of all applications of the deployment.
    """
    # Ray takes shares of a GPU in steps of 0.0001.
    return math.floor(DEFAULT_GPU_SHARES[deployment] / replicas * 1e4) / 1e4


def initial_replicas(stage: StageConfig) -> int:
    """Return with how many replicas a stage starts."""
    # One of a stage that rests without any too: a server that says that it is ready has
    # loaded and run everything once, and a model that cannot load is named at the start.
    return max(1, stage.min_replicas)


def stage_options(stage: StageConfig, default_gpus: float) -> dict[str, Any]:
    """Return the options of a stage's deployment; `default_gpus` where it names no num_gpus."""
    num_gpus = default_gpus if stage.num_gpus is None else stage.num_gpus
    options: dict[str, Any] = {
        "ray_actor_options": _actor_options(stage.num_cpus, num_gpus, stage.resources),
        # Whom a replica gets, and when, is for the Gateways' lines to say, not for Serve's router.
        "max_ongoing_requests": OVERCOMMIT * stage.max_ongoing_requests,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "graceful_shutdown_timeout_s": stage.shutdown_timeout_s,
        "graceful_shutdown_wait_loop_s": 0.1,
        # A model that does not load will not load the second time either: say so at once.
        "max_constructor_retry_count": 1,
    }
    return {**options, **scaling(stage)}


def scaling(stage: StageConfig) -> dict[str, Any]:
    """Return those options of a stage's deployment by which it scales; plain data."""
    if stage.max_replicas == stage.min_replicas:
        return {"num_replicas": stage.min_replicas}
    return autoscaling(stage)


def autoscaling(stage: StageConfig) -> dict[str, Any]:
    """Return the same as Serve's autoscaling has it, also where there is one number alone."""
    return {
        "autoscaling_config": {
            "min_replicas": stage.min_replicas,
            "initial_replicas": initial_replicas(stage),
            "max_replicas": stage.max_replicas,
            "target_ongoing_requests": stage.target_ongoing_requests,
            "upscale_delay_s": stage.upscale_delay_s,
            "downscale_delay_s": stage.downscale_delay_s,
            "downscale_to_zero_delay_s": stage.downscale_to_zero_delay_s,
            "metrics_interval_s": METRICS_INTERVAL_S,
            "look_back_period_s": LOOK_BACK_PERIOD_S,
        }
    }


def stop_s(gateway: GatewayConfig) -> float:
    """Return how many seconds a Gateway may take to stop."""
    return gateway.drain_notice_s + gateway.drain_timeout_s + GATEWAY_STOP_S


def gateway_options(gateway: GatewayConfig) -> dict[str, Any]:
    """Return the options of the Gateway's deployment."""
    options: dict[str, Any] = {
        "num_replicas": gateway.replicas,
        "ray_actor_options": _actor_options(gateway.num_cpus, 0, gateway.resources),
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        # Longer than the drain, or Serve would kill what is still draining.
        "graceful_shutdown_timeout_s": stop_s(gateway),
        "graceful_shutdown_wait_loop_s": 0.1,
        "max_constructor_retry_count": 1,
    }
    if gateway.max_replicas_per_node is not None:
        options["max_replicas_per_node"] = gateway.max_replicas_per_node
    return options


def _actor_options(
    num_cpus: float, num_gpus: float, resources: Mapping[str, float]
) -> dict[str, Any]:
    return {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": dict(resources)}
