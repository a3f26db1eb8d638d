"""The Serve config of the production manifests, for the machines and the model at hand."""

from pathlib import Path
from typing import Any

import yaml

__all__ = ["GROUPS", "MODEL", "serve_config_of"]

MANIFESTS = Path(__file__).resolve().parents[3] / "k8s/manifests/production/manifests.yaml"

MODEL = "leyden-tiny-lightning-4step"

SCALING = ("min_replicas", "initial_replicas", "max_replicas")


def _ray_service() -> dict[str, Any]:
    documents = yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8"))
    (found,) = (one for one in documents if one and one["kind"] == "RayService")
    spec: dict[str, Any] = found["spec"]
    return spec


def _resources(group: dict[str, Any]) -> dict[str, float]:
    """Return the custom resources that a worker group's pods say they have."""
    written = group["rayStartParams"]["resources"]
    resources: dict[str, float] = yaml.safe_load(yaml.safe_load(written))
    return resources


GROUPS: dict[str, dict[str, float]] = {
    group["groupName"]: _resources(group)
    for group in _ray_service()["rayClusterConfig"]["workerGroupSpecs"]
}
"""The custom resources of each worker group of the manifests."""


def serve_config_of(replicas: dict[str, int], drain_timeout_s: float) -> dict[str, Any]:
    """Return it with the embedded model alone, and so many replicas of each stage and Gateways.

    Keys stay out, whose Secret is not here; all else is as the manifests have it.
    """
    config: dict[str, Any] = yaml.safe_load(_ray_service()["serveConfigV2"])
    (gateway,) = (a for a in config["applications"] if a["args"]["stage"] == "gateway")
    real = gateway["args"]["config"]["models"][0]
    config["applications"] = [
        a for a in config["applications"] if a is gateway or a["args"]["model"] == real
    ]
    args = gateway["args"]
    args["stages"] = {real: args["stages"][real]}
    args["config"]["models"] = [real]
    args["config"]["gateway"].pop("api_keys")
    args["config"]["gateway"].update(replicas=replicas["gateway"], drain_timeout_s=drain_timeout_s)
    for application in config["applications"]:
        stage = application["args"]["stage"]
        for deployment in application.get("deployments", []):
            deployment["autoscaling_config"].update(dict.fromkeys(SCALING, replicas[stage]))
        settings = application["args"]["config"]
        if "denoiser" in settings:
            settings["denoiser"]["measure_batch_rows"] = False  # a start takes less
    renamed: dict[str, Any] = yaml.safe_load(yaml.safe_dump(config).replace(real, MODEL))
    return renamed
