"""The chart is installed, its pods are made, admitted and bound."""

from collections import Counter
from decimal import Decimal

from cluster.control_plane.client import Object, RefusedError
from cluster.control_plane.cluster import GPU
from cluster.control_plane.quantities import amount
from cluster.control_plane.world import Release, World, condition

__all__ = ["check_install", "check_refusals", "check_uninstall"]


def check_install(world: World, release: Release) -> None:
    """Install the chart and look at everything that comes of it."""
    report, values = world.report, release.values
    release.prepare()
    release.install()
    sent = release.manifest()
    kinds = Counter(one["kind"] for one in sent)
    report.holds(f"{values}: helm install is accepted", _in_words(kinds))
    _check_fields(world, release, sent)
    _check_operator(world, release)
    _check_admission(world, release)
    _check_binding(world, release)


def check_refusals(world: World, release: Release) -> None:
    """Show that the checks above can fail: the same cluster refuses what is wrong."""
    bad = {"name": "bad", "namespace": release.namespace}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": bad,
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    _must_be_refused(world, "a pod that may do more", "violates PodSecurity", pod)
    service = release.service()
    spec = service["spec"]
    typo = {**spec, "rayClusterDeletionDelaySecond": 1}
    misspelt = {"apiVersion": service["apiVersion"], "kind": "RayService", "metadata": bad}
    _must_be_refused(world, "a misspelt field", "unknown field", {**misspelt, "spec": typo})
    _check_too_large(world, release)
    _check_operators_rules(world, {**misspelt, "spec": spec}, release)


def check_uninstall(world: World, release: Release) -> None:
    """Nothing is left behind: no pod, no Ray cluster, no RayService that waits to be gone."""
    # Helm takes the head's ServiceAccount away at once, and the operator's Job that empties Redis
    # then makes no pod: it gives up after five minutes. So the RayService goes first.
    world.client.run("delete", "rayservices", "--all", "-n", release.namespace)
    release.uninstall()
    kinds = "rayservices,rayclusters,pods,services"
    world.until("all of it is gone", lambda: not world.client.list(kinds, release.namespace))
    claims = world.client.list("persistentvolumeclaims", release.namespace)
    kept = ", ".join(claim["metadata"]["name"] for claim in claims) or "nothing"
    world.report.holds(f"{release.values}: helm uninstall leaves no pod", f"left: {kept}")


def _check_fields(world: World, release: Release, sent: list[Object]) -> None:
    """Every field that was sent is one the API server knows: it drops others in silence."""
    for one in sent:
        one["metadata"].setdefault("namespace", release.namespace)
    try:
        world.client.dry_run(*sent)
    except RefusedError as refused:
        world.report.fails(f"{release.values}: the API server knows every field", str(refused))
    else:
        world.report.holds(f"{release.values}: the API server knows every field")


def _check_operator(world: World, release: Release) -> None:
    """The operator takes the RayService for valid, and makes each pod that it asks for."""
    cluster = world.until("the operator makes a RayCluster", release.clusters)[0]
    wanted = _pods_of(cluster)
    selector = f"ray.io/cluster={cluster['metadata']['name']}"
    world.until(
        f"it makes {wanted} pods", lambda: len(release.pods(selector)) == wanted or _why(release)
    )
    made = Counter(p["metadata"]["labels"]["ray.io/group"] for p in release.pods(selector))
    if sum(made.values()) == wanted:
        world.report.holds(f"{release.values}: the operator makes the pods", _in_words(made))
    else:
        world.report.fails(f"{release.values}: the operator makes the pods", _why(release))


def _check_admission(world: World, release: Release) -> None:
    """Nothing was refused by pod security, of the operator's pods nor of the chart's."""
    refused = [w for w in release.warnings() if "PodSecurity" in w or w.startswith("FailedCreate")]
    check = f'{release.values}: pod security "restricted" refuses none'
    if refused:
        world.report.fails(check, refused[-1])
    else:
        world.report.holds(check, f"{len(release.pods())} pods admitted")


def _check_binding(world: World, release: Release) -> None:
    """Each pod is on a node that has what it asks for, and none has more than it can."""
    world.until("every pod is bound and runs", lambda: all(map(_runs, release.pods())))
    nodes = {node["metadata"]["name"]: node for node in world.client.list("nodes")}
    asked: Counter[tuple[str, str]] = Counter()
    for pod in world.client.list("pods"):
        for resource, number in _requests(pod).items():
            asked[pod["spec"]["nodeName"], resource] += number  # type: ignore[assignment]
    crowded = [
        f"{node} {resource}"
        for (node, resource), number in asked.items()
        if number > amount(nodes[node]["status"]["allocatable"].get(resource, "0"))
    ]
    misplaced = [
        pod["metadata"]["name"]
        for pod in release.pods()
        if (GPU in _requests(pod)) != (GPU in nodes[pod["spec"]["nodeName"]]["status"]["capacity"])
    ]
    places = Counter(_group(pod) + " on " + pod["spec"]["nodeName"] for pod in release.pods())
    check = f"{release.values}: the scheduler binds each pod to a node with its resources"
    if crowded or misplaced:
        world.report.fails(
            check, f"too full: {crowded}; GPU pods elsewhere, or others there: {misplaced}"
        )
    else:
        world.report.holds(check, _in_words(places))


def _check_too_large(world: World, release: Release) -> None:
    """A pod that no node can hold stays unbound, and the scheduler says why."""
    (node,) = world.client.list("nodes", selector="kubernetes.io/hostname=gpu-a-1")
    too_many = {GPU: str(int(node["status"]["capacity"][GPU]) + 1)}
    safe = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    resources = {"limits": too_many, "requests": too_many}
    container = {"name": "c", "image": "i", "securityContext": safe, "resources": resources}
    name = "too-large"
    world.client.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": release.namespace},
            "spec": {"containers": [container], "tolerations": [{"operator": "Exists"}]},
        }
    )

    def why() -> str:
        pod = world.client.get("pod", name, release.namespace)
        scheduled = condition(pod, "PodScheduled") or {}
        return str(scheduled.get("message", ""))

    said = world.until("the scheduler says that it cannot place too large a pod", why)
    world.client.run("delete", "pod", name, "-n", release.namespace)
    note = world.report.holds if GPU in said else world.report.fails
    note("refused: more GPUs than a node has", said)


def _check_operators_rules(world: World, service: Object, release: Release) -> None:
    """What only the operator checks: the CRD takes any word for an upgrade's type."""
    spec = {**service["spec"], "upgradeStrategy": {"type": "Sometimes"}}
    world.client.create({**service, "spec": spec})
    name = service["metadata"]["name"]

    def why() -> str:
        made = world.client.get("rayservice", name, release.namespace)
        ready = condition(made, "Ready") or {}
        return str(ready.get("message", "")) if ready.get("reason") == "ValidationFailed" else ""

    said = world.until("the operator refuses an upgrade strategy that there is not", why)
    world.report.holds("refused by the operator: an unknown upgrade strategy", said)
    world.client.run("delete", "rayservice", name, "-n", release.namespace)


def _must_be_refused(world: World, what: str, because: str, bad: Object) -> None:
    try:
        world.client.create(bad)
    except RefusedError as refused:
        note = world.report.holds if because in str(refused) else world.report.fails
        note(f"refused: {what}", str(refused))
    else:
        world.report.fails(f"refused: {what}", "it was accepted")


def _pods_of(cluster: Object) -> int:
    groups = cluster["spec"].get("workerGroupSpecs", [])
    return 1 + sum(int(g.get("replicas", 0)) * int(g.get("numOfHosts", 1)) for g in groups)


def _why(release: Release) -> str:
    """Return the last warning: a wait for pods that nobody can make ends with it."""
    said = [w for w in release.warnings() if w.startswith("FailedToCreate") and "Pod" in w]
    return said[-1] if said else ""


def _requests(pod: Object) -> dict[str, Decimal]:
    """Return what the pod's containers ask for together, as the scheduler adds it up."""
    total: dict[str, Decimal] = {}
    for container in pod["spec"]["containers"]:
        for resource, number in container.get("resources", {}).get("requests", {}).items():
            total[resource] = total.get(resource, Decimal(0)) + amount(number)
    return total


def _runs(pod: Object) -> bool:
    return bool(pod["status"]["phase"] in {"Running", "Succeeded"})


def _group(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("ray.io/group", pod["metadata"]["name"]))


def _in_words(counted: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counted.items()))
