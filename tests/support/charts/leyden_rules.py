"""What has to agree in a release for Leyden to serve, and no schema knows of.

Each rule is a function that yields faults; `leyden_faults` asks them all.
"""

from collections.abc import Iterator
from typing import Any

from support.charts.pod_rules import POD_RULES
from support.charts.release import Release

__all__ = ["RULES", "leyden_faults"]

Object = dict[str, Any]

STAGES = ("text_encoder", "denoiser", "vae")
RESTING = {"min_replicas", "downscale_to_zero_delay_s"}
"""What a Gateway knows of how a stage scales."""

OPEN_TO_OTHERS = {"grpc", "web", "leyden-metrics", "metrics"}
DASHBOARD = 8265


def leyden_faults(release: Release) -> list[str]:
    """Returns what does not fit."""
    return [fault for rule in RULES for fault in rule(release)]


def resources_are_there(release: Release) -> Iterator[str]:
    """What the Serve config asks of Ray is what some group's pods have."""
    offered = {name: group for group in release.workers for name in group.resources}
    config = release.gateway_config
    for section in ("gateway", *STAGES):
        asked = config[section].get("resources", {})
        if not asked:
            yield f"serveConfigV2: {section} asks for no resource, so it may run anywhere"
        for name, amount in asked.items():
            if name not in offered:
                yield f"serveConfigV2: {section} asks for {name}, which no group has"
            elif amount > offered[name].resources[name]:
                yield f"serveConfigV2: {section} asks for {amount} of {name}"
    if config["gateway"].get("resources") != {"leyden_gateway": 1}:
        yield "serveConfigV2: gateway: one a node takes leyden_gateway: 1"


def applications_agree(release: Release) -> Iterator[str]:
    """The Gateway names applications that are there, and each stage has its settings."""
    *stages, gateway = release.serve_config["applications"]
    there = {each["name"]: each["args"] for each in stages}
    config = release.gateway_config
    if [*gateway["args"]["stages"]] != config["models"]:
        yield "serveConfigV2: the Gateway's stages are not those of its models"
    for model, names in gateway["args"]["stages"].items():
        for stage in STAGES:
            if there.get(names.get(stage), {}).get("stage") != stage:
                yield f"serveConfigV2: {model}: no application {names.get(stage)} is its {stage}"
    for name, args in there.items():
        of_gateway = {k: v for k, v in config[args["stage"]].items() if k not in RESTING}
        if args["config"].get(args["stage"]) != of_gateway:
            yield f"serveConfigV2: {name}: its settings are not the Gateway's"


def a_gateway_for_each_pod(release: Release) -> Iterator[str]:
    """As many Gateways as pods for them, one on each."""
    pods = sum(group.least for group in release.workers if group.has_gateway)
    config = release.gateway_config["gateway"]
    if config.get("replicas") != pods:
        yield f"serveConfigV2: gateway.replicas {config.get('replicas')}, and {pods} pods for them"
    if config.get("max_replicas_per_node") != 1:
        yield "serveConfigV2: gateway.max_replicas_per_node is not 1"


def replicas_find_gpus(release: Release) -> Iterator[str]:
    """The replicas at rest fit into the pods at rest, and all into all."""
    stages = release.serve_config["applications"][:-1]
    for group in release.workers:
        if group.gpus == 0:
            continue
        for when, pods in (("rest", group.least), ("most", group.most)):
            needed = 0.0
            for application in stages:
                args = application["args"]
                if f"leyden_{args['stage']}" in group.resources:
                    share = args["config"][args["stage"]].get("num_gpus", 0)
                    needed += _replicas(application)[when] * share
            if needed > pods * group.gpus + 1e-6:
                yield (
                    f"{group.name}: {needed:g} GPUs are needed at {when}, and "
                    f"{pods * group.gpus:g} are there"
                )


def ports_agree(release: Release) -> Iterator[str]:
    """The Gateway listens where its containers, Services and probes say."""
    config = release.gateway_config["gateway"]
    wanted = {"grpc": config.get("port", 8001), "leyden-metrics": config.get("metrics_port", 8002)}
    if config.get("web_port") is not None:
        wanted["web"] = config["web_port"]
    for group in release.workers:
        if group.has_gateway:
            for name, port in wanted.items():
                if group.ports.get(name) != port:
                    yield f"{group.name}: port {name} is {group.ports.get(name)}; Leyden has {port}"
    for group in release.workers:
        param = _params(release, group.name).get("metrics-export-port", "8080")
        if group.ports.get("metrics") != int(param):
            yield f"{group.name}: port metrics is {group.ports.get('metrics')}; Ray has {param}"
        taken = [port for name, port in group.ports.items() if name != "metrics"]
        if int(param) in {*taken, *wanted.values()}:
            yield f"{group.name}: Ray's metrics-export-port {param} is another port's"
    if config.get("host") not in {"0.0.0.0", "[::]"}:
        yield f"gateway.host {config.get('host')}: probes and clients do not reach it"


def services_lead_to_gateways(release: Release) -> Iterator[str]:
    """Services for clients pick the pods with a Gateway and no other, at ports they have."""
    with_gateway = {group.name for group in release.workers if group.has_gateway}
    has_tls = "tls_certificate" in release.gateway_config["gateway"]
    kinds = set()
    for service in release.of_kind("Service"):
        spec, name = service["spec"], service["metadata"]["name"]
        ports = {port["name"]: port for port in spec["ports"]}
        if "grpc" not in ports:
            continue
        kinds.add(spec.get("clusterIP") == "None")
        picked = release.hosts(spec["selector"])
        if {group.name for group in picked} != with_gateway:
            yield f"Service {name}: picks {[group.name for group in picked]}"
        for group in picked:
            for port in ports.values():
                if port["targetPort"] not in group.ports:
                    yield f"Service {name}: {group.name} has no port {port['targetPort']}"
        protocol = ports["grpc"].get("appProtocol")
        if protocol != (None if has_tls else "kubernetes.io/h2c"):
            yield f"Service {name}: appProtocol {protocol}"
    if kinds != {True, False}:
        yield "no Service for clients, or none without a cluster IP for those that balance"


def others_pick_pods(release: Release) -> Iterator[str]:
    """Policies, budgets and monitors pick pods that there are."""
    for document in release.documents:
        kind, spec = document["kind"], document.get("spec", {})
        name = f"{kind} {document['metadata']['name']}"
        selector = spec.get("podSelector" if kind == "NetworkPolicy" else "selector", {})
        if kind not in {"NetworkPolicy", "PodDisruptionBudget", "PodMonitor"}:
            continue
        labels = selector.get("matchLabels", {})
        picked = release.hosts(labels)
        redis = [
            each
            for each in release.of_kind("StatefulSet")
            if labels.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        if not picked and not redis:
            yield f"{name}: picks no pod"
        if kind == "PodDisruptionBudget":
            least = spec.get("minAvailable")
            if not isinstance(least, int):
                yield f"{name}: minAvailable {least!r}: a RayCluster takes whole numbers alone"
            elif not 0 < least < min(group.least for group in picked or release.groups):
                yield f"{name}: minAvailable {least} of {[group.least for group in picked]} pods"
        if kind == "PodMonitor":
            for endpoint in spec["podMetricsEndpoints"]:
                if any(endpoint["port"] not in group.ports for group in picked):
                    yield f"{name}: no port {endpoint['port']}"


def ray_is_closed(release: Release) -> Iterator[str]:
    """Every pod is behind a policy, and nobody else reaches a port of Ray's."""
    policies = [*release.of_kind("NetworkPolicy")]
    for group in release.groups:
        about = [
            policy["spec"]
            for policy in policies
            if policy["spec"]["podSelector"]["matchLabels"].items() <= group.labels.items()
            and "Ingress" in policy["spec"]["policyTypes"]
        ]
        if not about:
            yield f"{group.name}: no NetworkPolicy, so Ray's ports are open"
        may = {port for name, port in group.ports.items() if name in OPEN_TO_OTHERS} | {8002}
        for rule in (rule for spec in about for rule in spec.get("ingress", [])):
            peers = rule.get("from", [])
            ports = {port["port"] for port in rule.get("ports", [])}
            if peers and all(_is_own(peer, release) for peer in peers):
                continue
            if ports == {DASHBOARD} and all(_is_operator(peer) for peer in peers) and peers:
                continue
            if not ports or not ports <= may:
                yield f"{group.name}: others reach {sorted(ports - may) or 'every port'}"


def routes_lead_to_services(release: Release) -> Iterator[str]:
    """A route's backends are Services of the release, at ports that they have."""
    services = {each["metadata"]["name"]: each["spec"] for each in release.of_kind("Service")}
    for route in release.of_kind("GRPCRoute"):
        for backend in (b for rule in route["spec"]["rules"] for b in rule["backendRefs"]):
            spec = services.get(backend["name"], {"ports": []})
            if backend["port"] not in {port["port"] for port in spec["ports"]}:
                yield f"GRPCRoute: no Service {backend['name']} with port {backend['port']}"


def upgrades_move_grpc(release: Release) -> Iterator[str]:
    """KubeRay's incremental upgrade moves HTTP alone (its issue 5265)."""
    kind = release.service["spec"].get("upgradeStrategy", {}).get("type")
    if kind != "NewCluster":
        yield f"upgradeStrategy.type {kind}: only NewCluster moves gRPC"


RULES = (
    resources_are_there,
    applications_agree,
    a_gateway_for_each_pod,
    replicas_find_gpus,
    ports_agree,
    services_lead_to_gateways,
    others_pick_pods,
    ray_is_closed,
    *POD_RULES,
    routes_lead_to_services,
    upgrades_move_grpc,
)


def _replicas(application: Object) -> dict[str, int]:
    (deployment,) = application["deployments"]
    scaling = deployment.get("autoscaling_config")
    if scaling is None:
        return {"rest": deployment["num_replicas"], "most": deployment["num_replicas"]}
    return {"rest": scaling["initial_replicas"], "most": scaling["max_replicas"]}


def _params(release: Release, group: str) -> dict[str, str]:
    by_name = {each["groupName"]: each for each in release.cluster["workerGroupSpecs"]}
    params: dict[str, str] = by_name[group]["rayStartParams"]
    return params


def _is_own(peer: Object, release: Release) -> bool:
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    own = release.head.labels
    keys = ("app.kubernetes.io/name", "app.kubernetes.io/instance")
    return "namespaceSelector" not in peer and all(labels.get(key) == own[key] for key in keys)


def _is_operator(peer: Object) -> bool:
    labels: Object = peer.get("podSelector", {}).get("matchLabels", {})
    return labels.get("app.kubernetes.io/component") == "kuberay-operator"
