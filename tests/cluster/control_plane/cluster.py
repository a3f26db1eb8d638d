"""What a cluster has besides its control plane: nodes, storage, kinds of others, the operator."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cluster.control_plane.builds import PROGRAMS, downloaded
from cluster.control_plane.client import Client, Object
from cluster.control_plane.daemons import Daemons, until
from cluster.control_plane.plane import Plane, free_ports
from cluster.report import Report

__all__ = ["GPU", "KWOKS", "REAL_NODE", "REAL_PODS", "furnish", "set_aside"]

GPU = "nvidia.com/gpu"
REAL_NODE = "real"
"""The node whose pods `kubelet.py` runs; kwok has all others, and only says that pods run."""
REAL_PODS = "10.214.0.0/16"
_KWOKS_PODS = "10.213.0.0/16"
_KWOK = "kwok.x-k8s.io/node"
KWOKS = f"{_KWOK}=fake"
"""Selects the nodes of kwok."""
_OPERATOR = "kuberay-operator"
_OPERATORS_NAMESPACE = "kuberay-system"
_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/general", "volume/fast")
"""Folders of kwok: what it makes of nodes, of pods and of volumes."""
_CRDS = {
    "sigs.k8s.io/gateway-api@v1.6.3": (
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "github.com/envoyproxy/gateway@v1.9.1": (
        "charts/gateway-helm/charts/crds/crds/generated/"
        "gateway.envoyproxy.io_backendtrafficpolicies.yaml",
    ),
}
"""What the chart may make beyond KubeRay's kinds; Go's checksum database vouches for the files."""
_ZONES = ("a", "b", "c")


def furnish(plane: Plane, client: Client, daemons: Daemons, folder: Path, report: Report) -> None:
    """Fill a bare control plane with what a chart expects of a cluster."""
    report.say(
        "adding the CRDs of KubeRay, the Gateway API, Envoy Gateway and the Prometheus operator"
    )
    client.create_files(*_definitions())
    # `kubectl wait` fails for an object that has no conditions at all yet.
    until("they are established", lambda: _all_are(client, "crds", "Established"), daemons)
    report.say("adding nodes, kept alive by kwok, and the KubeRay operator as its own user")
    _start_kwok(plane, client, daemons, folder)
    _start_operator(plane, client, daemons, folder)
    client.create(_node(REAL_NODE, "a", gpus=0))
    _keep_ready(client, REAL_NODE)
    nodes = [_node(f"cpu-{zone}", zone, gpus=0) for zone in _ZONES]
    nodes += [_node(f"gpu-{zone}-{n}", zone, gpus=8) for zone in _ZONES for n in (1, 2)]
    client.create(*nodes)
    until("every node is Ready", lambda: _all_are(client, "nodes", "Ready"), daemons)


@contextmanager
def set_aside(client: Client, *, kwok: bool) -> Iterator[None]:
    """Let pods be bound to the real node alone, or to those of kwok alone, within."""
    selector = KWOKS if kwok else f"!{_KWOK}"
    client.run("cordon", "-l", selector)
    try:
        yield
    finally:
        client.run("uncordon", "-l", selector)


def _keep_ready(client: Client, node: str) -> None:
    """Say that the node is Ready; the plane's controllers wait for no second word of it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet.py runs its pods",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    patch = json.dumps({"status": {"conditions": [ready]}})
    client.run("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)


def _definitions() -> list[Path]:
    kuberay = PROGRAMS["ray-operator"].source() / "config/crd/bases"
    others = [downloaded(module) / file for module, files in _CRDS.items() for file in files]
    return [*sorted(kuberay.glob("*.yaml")), *others]


def _start_kwok(plane: Plane, client: Client, daemons: Daemons, folder: Path) -> None:
    parts: list[Any] = []
    source = PROGRAMS["kwok"].source() / "kustomize/stage"
    for stage in _STAGES:
        for file in sorted((source / stage).glob("*.yaml")):
            read = yaml.safe_load_all(file.read_text(encoding="utf-8"))
            parts += [part for part in read if part["kind"] in {"Stage", "StorageClass"}]
    client.create(*(part for part in parts if part["kind"] == "StorageClass"))
    for part in parts:
        if part["metadata"]["name"] == "pod-delete":
            part["spec"].pop("delay")  # its pods hold nothing, so they need not have their grace
    stages = folder / "stages.yaml"
    stages.write_text(
        yaml.safe_dump_all(part for part in parts if part["kind"] == "Stage"), encoding="utf-8"
    )
    daemons.start(
        "kwok",
        PROGRAMS["kwok"].file,
        f"--kubeconfig={plane.kubeconfig}",
        f"--config={stages}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-label-selector={KWOKS}",
        f"--cidr={_KWOKS_PODS}",
        "--node-lease-duration-seconds=40",
    )


def _start_operator(plane: Plane, client: Client, daemons: Daemons, folder: Path) -> None:
    """Start the operator with the rights that its release gives it, and no others."""
    client.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _OPERATORS_NAMESPACE}}
    )
    rights = PROGRAMS["ray-operator"].source() / "config/rbac"
    client.create_files(rights / "role.yaml")
    client.run("create", "serviceaccount", _OPERATOR, "-n", _OPERATORS_NAMESPACE)
    account = f"--serviceaccount={_OPERATORS_NAMESPACE}:{_OPERATOR}"
    client.run("create", "clusterrolebinding", _OPERATOR, f"--clusterrole={_OPERATOR}", account)
    token = client.run("create", "token", _OPERATOR, "-n", _OPERATORS_NAMESPACE, "--duration=24h")
    kubeconfig = folder / "operator.kubeconfig"
    plane.write_kubeconfig(kubeconfig, token.strip())
    metrics, health = free_ports(2)
    daemons.start(
        _OPERATOR,
        PROGRAMS["ray-operator"].file,
        f"--kubeconfig={kubeconfig}",
        "--enable-leader-election=false",
        f"--metrics-addr=127.0.0.1:{metrics}",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        # There is no DNS of a cluster here: it asks Ray's dashboard through the API server.
        "--use-kubernetes-proxy",
    )


def _node(name: str, zone: str, gpus: int) -> Object:
    """Return a node of a size that is common; one with GPUs keeps other pods away."""
    has = {"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    taints = []
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
    }
    if name != REAL_NODE:
        labels[_KWOK] = "fake"
    if gpus:
        has |= {GPU: str(gpus), "cpu": "96", "memory": "768Gi"}
        labels |= {"nvidia.com/gpu.present": "true"}
        taints = [{"key": GPU, "value": "present", "effect": "NoSchedule"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"capacity": has, "allocatable": has},
    }


def _all_are(client: Client, kind: str, what: str) -> bool:
    """Return whether every object of a kind has a condition."""
    conditions = [one.get("status", {}).get("conditions") or [] for one in client.list(kind)]
    return all(any(c["type"] == what and c["status"] == "True" for c in cs) for cs in conditions)
