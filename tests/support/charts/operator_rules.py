"""What KubeRay's operator refuses though the definition of a RayService lets it through.

By the operator's own checks, releases 1.5.0 and 1.6.2: `controllers/ray/utils/validation.go` and
`controllers/ray/common/service.go` of the module github.com/ray-project/kuberay/ray-operator. A
RayService that breaks one is accepted by the API server, and then stands still with an event.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["operator_faults"]

Object = dict[str, Any]

LONGEST_NAME = 47
UPGRADES = ("None", "NewCluster", "NewClusterWithIncrementalUpgrade")
RESOURCE_PARAMS = ("num-cpus", "num-gpus", "memory", "resources")
OLDEST_WITH_TOKENS = (2, 52, 0)


def operator_faults(service: Object) -> list[str]:
    """Returns what the operator would refuse of a RayService."""
    spec = service["spec"]
    cluster = spec["rayClusterConfig"]
    annotations = service["metadata"].get("annotations", {})
    return [
        *_of_metadata(service["metadata"]),
        *_of_upgrade(spec, cluster),
        *_of_groups(cluster),
        *_of_redis(cluster, annotations),
        *_of_autoscaler(cluster),
        *_of_tokens(cluster),
        *_of_serve_port(spec, cluster),
    ]


def _of_metadata(metadata: Object) -> Iterator[str]:
    name = metadata["name"]
    if len(name) > LONGEST_NAME:
        yield f"metadata.name: {len(name)} characters; at most {LONGEST_NAME}"
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"metadata.name: {name} is not a DNS-1035 label"


def _of_upgrade(spec: Object, cluster: Object) -> Iterator[str]:
    kind = spec.get("upgradeStrategy", {}).get("type", "NewCluster")
    if kind not in UPGRADES:
        yield f"upgradeStrategy.type: {kind}; one of {', '.join(UPGRADES)}"
    if kind == UPGRADES[-1] and not cluster.get("enableInTreeAutoscaling"):
        yield "upgradeStrategy.type: an incremental upgrade needs the autoscaler"
    if spec.get("rayClusterDeletionDelaySeconds", 0) < 0:
        yield "rayClusterDeletionDelaySeconds: less than 0"
    if "upgradeStrategy" in cluster:
        yield "rayClusterConfig.upgradeStrategy: not for a RayService's cluster"
    if cluster["headGroupSpec"].get("headService", {}).get("metadata", {}).get("name"):
        yield "headGroupSpec.headService.metadata.name: not to be set"


def _of_groups(cluster: Object) -> Iterator[str]:
    head = cluster["headGroupSpec"]
    workers = cluster.get("workerGroupSpecs", [])
    for name, group in [("head", head), *((each["groupName"], each) for each in workers)]:
        params = group.get("rayStartParams", {})
        if not group["template"]["spec"].get("containers"):
            yield f"{name}: no container"
        if group.get("resources") and any(params.get(key) for key in RESOURCE_PARAMS):
            yield f"{name}: resources are set in rayStartParams and beside them"
        if "labels" in params:
            yield f"{name}: rayStartParams.labels is not supported"
        wrong = [key for key, value in params.items() if not isinstance(value, str)]
        if wrong:
            yield f"{name}: rayStartParams are texts; {', '.join(wrong)} is none"
    for name, count in Counter(each["groupName"] for each in workers).items():
        if count > 1:
            yield f"{name}: the name of {count} groups"
    for group in workers:
        least, most = group.get("minReplicas"), group.get("maxReplicas")
        if not cluster.get("enableInTreeAutoscaling") and (least is None or most is None):
            yield f"{group['groupName']}: minReplicas and maxReplicas are needed"
        if least is not None and most is not None and not 0 <= least <= most:
            yield f"{group['groupName']}: minReplicas {least} and maxReplicas {most} are no range"


def _of_redis(cluster: Object, annotations: Object) -> Iterator[str]:
    head = cluster["headGroupSpec"]
    environment = _environment(head)
    params = head.get("rayStartParams", {})
    if cluster.get("gcsFaultToleranceOptions") is None:
        if "RAY_REDIS_ADDRESS" in environment and annotations.get("ray.io/ft-enabled") != "true":
            yield "RAY_REDIS_ADDRESS is set, and gcsFaultToleranceOptions are not"
    else:
        for name in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS"):
            if name in environment:
                yield f"{name} is set beside gcsFaultToleranceOptions"
        if params.get("redis-password"):
            yield "rayStartParams.redis-password is set beside gcsFaultToleranceOptions"
        for name in ("ray.io/ft-enabled", "ray.io/external-storage-namespace"):
            if annotations.get(name):
                yield f"the annotation {name} is set beside gcsFaultToleranceOptions"
    if params.get("redis-username") or "REDIS_USERNAME" in environment:
        yield "redis-username belongs into gcsFaultToleranceOptions"


def _of_autoscaler(cluster: Object) -> Iterator[str]:
    options = cluster.get("autoscalerOptions", {})
    is_on = cluster.get("enableInTreeAutoscaling", False)
    by_environment = _environment(cluster["headGroupSpec"]).get("RAY_enable_autoscaler_v2")
    if by_environment in {"1", "true"} and not is_on:
        yield "RAY_enable_autoscaler_v2 without enableInTreeAutoscaling"
    if not is_on:
        return
    if by_environment is not None and options.get("version"):
        yield "RAY_enable_autoscaler_v2 and autoscalerOptions.version are both set"
    groups = [("head", cluster["headGroupSpec"])]
    groups += [(each["groupName"], each) for each in cluster.get("workerGroupSpecs", [])]
    is_v2 = options.get("version") == "v2" or by_environment in {"1", "true"}
    for name, group in groups:
        policy = group["template"]["spec"].get("restartPolicy")
        if is_v2 and policy not in {None, "Never"}:
            yield f"{name}: restartPolicy {policy}; Never or unset with autoscaler v2"
        if group.get("suspend"):
            yield f"{name}: suspended beside an autoscaler"
        if group.get("idleTimeoutSeconds") is not None and not is_v2:
            yield f"{name}: idleTimeoutSeconds needs autoscaler v2"
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield "autoscalerOptions.idleTimeoutSeconds: less than 0"


def _of_tokens(cluster: Object) -> Iterator[str]:
    if cluster.get("authOptions", {}).get("mode") != "token":
        return
    version = str(cluster.get("rayVersion", ""))
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    if numbers < OLDEST_WITH_TOKENS:
        yield f"rayVersion: {version or 'not set'}; authOptions.mode token needs 2.52.0"


def _of_serve_port(spec: Object, cluster: Object) -> Iterator[str]:
    ports = cluster["headGroupSpec"]["template"]["spec"]["containers"][0].get("ports", [])
    # 1.5 knows no `serve-` names.
    if "serveService" not in spec and "serve" not in {port.get("name") for port in ports}:
        yield "head: no port is called serve, without which KubeRay makes no Service"


def _environment(group: Object) -> dict[str, str]:
    first = group["template"]["spec"]["containers"][0]
    return {each["name"]: str(each.get("value", "")) for each in first.get("env", [])}
