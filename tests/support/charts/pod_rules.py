"""What has to agree in the pods of a release: probes, ends, resources, Secrets, weights."""

from collections.abc import Iterator
from typing import Any

from support.charts.pod_security import container_faults
from support.charts.release import Group, Release

__all__ = ["POD_RULES"]

Object = dict[str, Any]

HEALTH_SERVICES = {"livenessProbe": "leyden.live", "readinessProbe": ""}
"""Alive is not ready: a Gateway that loads models is alive."""

GRACE_AFTER_DRAIN_S = 15
PORTS_OF_RAYS_HEALTH = {52365, 8265}
"""Of a node's agent, for its raylet; of the head's dashboard, for the GCS."""


def probes_fit(release: Release) -> Iterator[str]:
    """Gateways are asked for their health services, other pods for their raylet."""
    config = release.gateway_config["gateway"]
    port, has_tls = config.get("port", 8001), "tls_certificate" in config
    for group in release.groups:
        for name in ("livenessProbe", "readinessProbe"):
            probe = group.container.get(name)
            where = f"{group.name}: {name}"
            if probe is None:
                yield f"{where}: none, so KubeRay's own asks port 8000, where nobody listens"
                continue
            handlers = {*probe} & {"grpc", "exec", "httpGet", "tcpSocket"}
            if len(handlers) != 1:
                yield f"{where}: {len(handlers)} handlers"
            elif not group.has_gateway:
                path = probe.get("httpGet", {})
                if path.get("port") not in PORTS_OF_RAYS_HEALTH:
                    yield f"{where}: asks no port of Ray's that tells its health"
            elif has_tls:
                if "exec" not in probe:
                    yield f"{where}: the kubelet speaks no TLS by gRPC"
            elif probe.get("grpc", {}).get("port") != port:
                yield f"{where}: asks port {probe.get('grpc', {}).get('port')}; Leyden has {port}"
            elif probe["grpc"].get("service") != HEALTH_SERVICES[name]:
                yield (
                    f"{where}: asks for {probe['grpc'].get('service')!r}; "
                    f"{HEALTH_SERVICES[name]!r} tells it"
                )


def pods_end_in_time(release: Release) -> Iterator[str]:
    """The grace is the longest generation's and 15 s, and the hook before the end is shorter."""
    drain_s = release.gateway_config["gateway"].get("drain_timeout_s", 15)
    for group in release.groups:
        grace_s = group.template["spec"].get("terminationGracePeriodSeconds", 30)
        if grace_s != drain_s + GRACE_AFTER_DRAIN_S:
            yield (
                f"{group.name}: terminationGracePeriodSeconds {grace_s}; drain_timeout_s "
                f"{drain_s:g} and {GRACE_AFTER_DRAIN_S} more"
            )
        hook = group.container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        within = [part for part in hook.get("command", []) if part.startswith("--within=")]
        if len(within) != 1 or not drain_s < int(within[0].partition("=")[2]) < grace_s:
            yield f"{group.name}: no preStop that ends after {drain_s:g} s and before {grace_s} s"


def requests_are_limits(release: Release) -> Iterator[str]:
    """No pod may use what it has not asked for."""
    for group in release.groups:
        for container in _containers(group):
            resources = container.get("resources", {})
            if not resources.get("limits") or resources.get("requests") != resources["limits"]:
                yield f"{group.name}: {container['name']}: requests are not the limits"


def secrets_are_mounted(release: Release) -> Iterator[str]:
    """A file that the config names is in a Secret's volume, whole, on the Gateways' pods."""
    config = release.gateway_config["gateway"]
    for key in ("tls_certificate", "tls_private_key", "tls_client_ca", "api_keys"):
        if key not in config:
            continue
        folder = config[key].rpartition("/")[0]
        for group in release.groups:
            volumes = {each["name"]: each for each in group.template["spec"].get("volumes", [])}
            mounts = {each["mountPath"]: each for each in group.container["volumeMounts"]}
            mount = mounts.get(folder)
            if not group.has_gateway:
                if mount:
                    yield f"{group.name}: has the Secret of {key}, which it does not need"
            elif mount is None or "secret" not in volumes.get(mount["name"], {}):
                yield f"{group.name}: {key} {config[key]}: no Secret is mounted there"
            elif "subPath" in mount:
                yield f"{group.name}: {key}: with subPath a changed Secret is not seen"


def tokens_are_kept_back(release: Release) -> Iterator[str]:
    """Only a head with an autoscaler may speak to the API server, by an account that is there."""
    accounts = {each["metadata"]["name"]: each for each in release.of_kind("ServiceAccount")}
    scales = release.cluster.get("enableInTreeAutoscaling", False)
    for group in release.groups:
        spec = group.template["spec"]
        if spec.get("serviceAccountName") not in accounts:
            yield f"{group.name}: no ServiceAccount {spec.get('serviceAccountName')}"
        needs = scales and group.name == "head"
        if spec.get("automountServiceAccountToken", True) is not needs:
            yield f"{group.name}: automountServiceAccountToken is not {str(needs).lower()}"
    for name, account in accounts.items():
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount {name}: automountServiceAccountToken is not false"


def weights_are_pulled(release: Release) -> Iterator[str]:
    """Where there is a volume for weights, every model is fetched into it before Ray starts."""
    for group in release.groups:
        spec = group.template["spec"]
        if not any(each["name"] == "models" for each in spec["volumes"]):
            continue
        pulled = [each.get("command", [])[-1:] for each in spec.get("initContainers", [])]
        for model in release.gateway_config["models"]:
            if [model] not in pulled:
                yield f"{group.name}: no init container pulls {model}"
        claims = {each["metadata"]["name"] for each in release.of_kind("PersistentVolumeClaim")}
        names = {
            each["persistentVolumeClaim"]["claimName"]
            for each in spec["volumes"]
            if "persistentVolumeClaim" in each
        }
        if claims and not names <= claims:
            yield f"{group.name}: mounts {names}, and the chart makes {claims}"


def autoscaler_is_restricted(release: Release) -> Iterator[str]:
    """The container that KubeRay adds beside the head is as restricted as ours."""
    if release.cluster.get("enableInTreeAutoscaling"):
        options = release.cluster.get("autoscalerOptions", {})
        pod = release.head.template["spec"].get("securityContext", {})
        for fault in container_faults(options, pod):
            yield f"autoscaler: {fault}"
        if options.get("version") != "v2":
            yield "autoscalerOptions.version is not v2"


POD_RULES = (
    probes_fit,
    pods_end_in_time,
    requests_are_limits,
    secrets_are_mounted,
    tokens_are_kept_back,
    weights_are_pulled,
    autoscaler_is_restricted,
)


def _containers(group: Group) -> list[Object]:
    spec = group.template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]
