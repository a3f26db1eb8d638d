"""Whether Ray has room for a replica that waits, or only takes its time to start it."""

from collections.abc import Mapping

import ray
from ray.autoscaler.v2.sdk import get_cluster_status

__all__ = ["waits_for_room"]

PRECISION = 1e-4
"""Ray counts resources in ten-thousandths."""


def waits_for_room(actor_options: Mapping[str, float]) -> bool:
    """Tell whether an actor with these `num_cpus` and `num_gpus` waits for a node to have them.

    An actor whose process starts waits for none: its place is taken already. Serve says of both
    that they wait to be scheduled (Ray Serve 2.60), and a start takes a minute on a busy machine.
    """
    asked = {"CPU": actor_options["num_cpus"], "GPU": actor_options["num_gpus"]}
    if not any(asked.values()):
        return False
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return any(
        all(abs(shape.bundle.get(name, 0.0) - amount) < PRECISION for name, amount in asked.items())
        for demand in status.resource_demands.ray_task_actor_demand
        for shape in demand.bundles_by_count
    )
