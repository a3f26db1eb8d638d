"""The level `restricted` of Kubernetes' Pod Security Standards, on pod templates.

https://kubernetes.io/docs/concepts/security/pod-security-standards/: restricted, with what it has
of baseline.
"""

from collections.abc import Iterator
from typing import Any

__all__ = ["container_faults", "pod_security_faults"]

Object = dict[str, Any]

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SECCOMP = ("RuntimeDefault", "Localhost")


def pod_security_faults(template: Object) -> Iterator[str]:
    """Yields what the admission of a namespace that enforces `restricted` would refuse."""
    spec = template["spec"]
    pod = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is set"
    if pod.get("sysctls"):
        yield "sysctls are set"
    for volume in spec.get("volumes", []):
        kinds = {*volume} - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']}: {', '.join(sorted(kinds))} is not allowed"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for fault in container_faults(container, pod):
            yield f"container {container['name']}: {fault}"


def container_faults(container: Object, pod: Object) -> Iterator[str]:
    """Yields the same of one container, whose pod has the securityContext `pod`."""
    own = container.get("securityContext", {})
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities: ALL is not dropped"
    if not {*capabilities.get("add", [])} <= {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if own.get("runAsUser", pod.get("runAsUser")) == 0:
        yield "runAsUser is 0"
    profile = own.get("seccompProfile", pod.get("seccompProfile", {}))
    if profile.get("type") not in SECCOMP:
        yield f"seccompProfile.type is none of {', '.join(SECCOMP)}"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort is set"
