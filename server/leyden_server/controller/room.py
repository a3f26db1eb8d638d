"""Whether Ray has room for a replica that waits, or only takes its time to start it."""

from collections.abc import Mapping
from typing import Any

import ray
from ray.autoscaler.v2.sdk import get_cluster_status

__all__ = ["resources_of", "waits_for_room"]

PRECISION = 1e-4
"""Ray counts resources in ten-thousandths."""


def resources_of(actor_options: Mapping[str, Any]) -> dict[str, float]:
    """Return what an actor with these options takes, by Ray's names."""
    return {
        "CPU": actor_options["num_cpus"],
        "GPU": actor_options["num_gpus"],
        **actor_options.get("resources", {}),
    }


def waits_for_room(actor_options: Mapping[str, Any]) -> bool:
    """Tell whether an actor with these options waits for a node to have what they ask for.

    An actor whose process starts waits for none: its place is taken already. Serve says of both
    that they wait to be scheduled (Ray Serve 2.60), and a start takes a minute on a busy machine.
    """
    asked = resources_of(actor_options)
    if not any(asked.values()):
        return False
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return any(
        all(abs(shape.bundle.get(name, 0.0) - amount) < PRECISION for name, amount in asked.items())
        for demand in status.resource_demands.ray_task_actor_demand
        for shape in demand.bundles_by_count
    )
