"""A plan as values of the Helm chart (k8s/charts/leyden), whose `config` is a Leyden config."""

import math
from typing import Any

from leyden_server.config import GatewayConfig
from leyden_server.sizing.plan import Plan

__all__ = ["config_of", "values_of"]

SHARES = {
    False: {"text_encoder": 0.1, "denoiser": 1.0, "vae": 0.9},
    True: {"text_encoder": 0.1, "denoiser": 0.6, "vae": 0.3},
}
"""Of a card, where the stages stand apart and together."""


RESOURCES = {
    "gateway": {"cpu": 4, "memory_gib": 8},
    "denoiser": {"cpu": 8, "memory_gib": 32},
    "vae": {"cpu": 8, "memory_gib": 16},
    "gpu": {"cpu": 16, "memory_gib": 48},
}
"""Of a pod with one card, by its group; those of the chart's own production values."""


def config_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the settings of the stages, by the config's sections and keys."""
    design = plan.design
    defaults = GatewayConfig()
    room = {
        name: getattr(design, name)
        for name in ("max_waiting_images", "max_open_images")
        if getattr(design, name) != getattr(defaults, name)
    }
    sections: dict[str, dict[str, Any]] = {"gateway": room} if room else {}
    for stage, replicas in design.replicas.items():
        sections[stage] = {
            "num_gpus": SHARES[design.together][stage],
            "min_replicas": replicas.at_rest,
            "max_replicas": replicas.most,
        }
        if stage in design.target_ongoing:
            sections[stage]["target_ongoing_requests"] = design.target_ongoing[stage]
    sections["text_encoder"]["max_batch_prompts"] = design.max_batch["text_encoder"]
    sections["denoiser"]["max_batch_rows"] = design.max_batch["denoiser"]
    sections["vae"]["max_batch_images"] = design.max_batch["vae"]
    return sections


def values_of(plan: Plan) -> dict[str, Any]:
    """Return the chart's values: the config, and the pods of each group."""
    design = plan.design
    replicas = design.replicas
    groups: list[dict[str, Any]] = [
        {
            "name": "gateway",
            "hosts": ["gateway"],
            "minPods": design.gateways,
            "maxPods": design.gateways,
            "resources": _resources("gateway", 1),
        }
    ]
    if design.together:
        groups.append(_group("gpu", ["text_encoder", "denoiser", "vae"], plan, "denoiser"))
    else:
        # Of a pod's cards each has a VAE, and those that are needed a text encoder too.
        assert replicas["text_encoder"].most <= replicas["vae"].most
        groups.append(_group("denoiser", ["denoiser"], plan, "denoiser"))
        groups.append(_group("vae", ["text_encoder", "vae"], plan, "vae"))
    scales = any(group["maxPods"] > group["minPods"] for group in groups)
    return {
        "config": config_of(plan),
        "workerGroups": groups,
        "autoscaler": {"enabled": scales},
    }


def _group(name: str, hosts: list[str], plan: Plan, stage: str) -> dict[str, Any]:
    per_pod = plan.design.gpus_per_node
    replicas = plan.design.replicas[stage]
    return {
        "name": name,
        "hosts": hosts,
        "minPods": math.ceil(replicas.at_rest / per_pod),
        "maxPods": math.ceil(replicas.most / per_pod),
        "gpus": per_pod,
        "resources": _resources(name, per_pod),
    }


def _resources(name: str, gpus: int) -> dict[str, str]:
    one = RESOURCES[name]
    return {"cpu": str(one["cpu"] * gpus), "memory": f"{one['memory_gib'] * gpus}Gi"}
