"""Each way to break a release is caught, by the right check."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml
from support.charts import presets
from support.charts.faults import faults_of
from support.charts.go_modules import NoModuleError
from support.charts.leyden_rules import RULES
from support.charts.release import Release

from leyden_server.controller.serve_schema import faults_of as serve_faults

Object = dict[str, Any]
Change = Callable[["Draft"], object]


@cache
def whole() -> Release:
    return Release.parse(presets.committed("production").read_text("utf-8"))


class Draft:
    """The production release, to be broken."""

    def __init__(self) -> None:
        self.documents = copy.deepcopy(whole().documents)
        self.service = self.one("RayService")
        self.spec: Object = self.service["spec"]
        self.cluster: Object = self.spec["rayClusterConfig"]
        self.head: Object = self.cluster["headGroupSpec"]
        self.serve: Object = yaml.load(self.spec["serveConfigV2"], yaml.CSafeLoader)
        self.gateway_config: Object = self.serve["applications"][-1]["args"]["config"]["gateway"]

    def one(self, kind: str, name: str = "") -> Object:
        """Return the document of a kind whose name ends so."""
        return next(
            each
            for each in self.documents
            if each["kind"] == kind and each["metadata"]["name"].endswith(name)
        )

    def group(self, name: str) -> Object:
        """Return a worker group."""
        groups = self.cluster["workerGroupSpecs"]
        return next(group for group in groups if group["groupName"] == name)

    def pod(self, name: str) -> Object:
        """Return the pod of a group, or of the head."""
        group = self.head if name == "head" else self.group(name)
        spec: Object = group["template"]["spec"]
        return spec

    def container(self, name: str) -> Object:
        """Return Ray's container of a group's pod."""
        first: Object = self.pod(name)["containers"][0]
        return first

    def drop(self, kind: str, name: str = "") -> None:
        """Leave a document out."""
        gone = self.one(kind, name)
        self.documents = tuple(each for each in self.documents if each is not gone)

    def release(self) -> Release:
        """Return what came out."""
        self.spec["serveConfigV2"] = yaml.dump(self.serve, Dumper=yaml.CSafeDumper)
        return Release(self.documents)


@dataclass(frozen=True, slots=True)
class Broken:
    """A way to break it, and what is to be said."""

    what: str
    change: Change
    said: str


def put(target: Callable[[Draft], Object], key: str, value: object) -> Change:
    """Set a key."""
    return lambda draft: target(draft).__setitem__(key, value)


def take(target: Callable[[Draft], Object], key: str) -> Change:
    """Remove a key."""
    return lambda draft: target(draft).pop(key)


def spec_of(kind: str, name: str = "") -> Callable[[Draft], Object]:
    """Return how to get a document's spec."""

    def spec(draft: Draft) -> Object:
        found: Object = draft.one(kind, name)["spec"]
        return found

    return spec


def add_env(group: str, name: str, value: str) -> Change:
    """Add a variable to Ray's container."""
    return lambda draft: draft.container(group)["env"].append({"name": name, "value": value})


def host_path(draft: Draft) -> None:
    draft.pod("vae")["volumes"].append({"name": "host", "hostPath": {"path": "/"}})


def sub_path(draft: Draft) -> None:
    for mount in draft.container("gateway")["volumeMounts"]:
        if mount["name"] == "keys":
            mount["subPath"] = "keys.yaml"


def keys_for_all(draft: Draft) -> None:
    mount = {"name": "keys", "mountPath": "/etc/leyden/keys", "readOnly": True}
    draft.container("vae")["volumeMounts"].append(mount)
    draft.pod("vae")["volumes"].append({"name": "keys", "secret": {"secretName": "leyden-keys"}})


def same_group_twice(draft: Draft) -> None:
    draft.cluster["workerGroupSpecs"].append(copy.deepcopy(draft.group("vae")))


def open_dashboard(draft: Draft) -> None:
    draft.one("NetworkPolicy", "-gateway")["spec"]["ingress"][0]["ports"].append({"port": 8265})


def without_redis_volume(draft: Draft) -> None:
    draft.one("StatefulSet")["spec"]["volumeClaimTemplate"] = []


def two_handlers(draft: Draft) -> None:
    draft.container("gateway")["livenessProbe"]["tcpSocket"] = {"port": 8001}


def with_tls(draft: Draft) -> None:
    draft.gateway_config["tls_certificate"] = "/etc/leyden/tls/tls.crt"
    draft.gateway_config["tls_private_key"] = "/etc/leyden/tls/tls.key"


def more_gpus(draft: Draft) -> None:
    for application in draft.serve["applications"][:-1]:
        if application["args"]["stage"] == "denoiser":
            application["deployments"][0]["autoscaling_config"]["max_replicas"] = 9


def misspelt_scaling(draft: Draft) -> None:
    scaling = draft.serve["applications"][0]["deployments"][0]["autoscaling_config"]
    scaling["min_replica"] = scaling.pop("min_replicas")


def another_dtype(draft: Draft) -> None:
    draft.serve["applications"][0]["args"]["config"]["text_encoder"]["dtype"] = "float32"


CASES = [
    # KubeRay's definition, strictly.
    Broken("a misspelt field", put(lambda d: d.group("vae"), "replica", 1), "'replica' was unex"),
    Broken("a text for a number", put(lambda d: d.group("vae"), "replicas", "one"), "replicas: "),
    Broken(
        "a misspelt field of a pod",
        put(lambda d: d.pod("vae"), "terminationGraceSeconds", 5),
        "terminationGraceSeconds",
    ),
    Broken(
        "a named port in a gRPC probe",
        put(lambda d: d.container("gateway")["readinessProbe"], "grpc", {"port": "grpc"}),
        "is not of type 'integer'",
    ),
    # Core types and those of others.
    Broken("a misspelt field of a Service", put(spec_of("Service"), "sellector", {}), "sellector"),
    Broken("a misspelt field of a StatefulSet", without_redis_volume, "volumeClaimTemplate"),
    Broken("a misspelt field of a route", put(spec_of("GRPCRoute"), "host", "a"), "'host' was"),
    Broken("one of a monitor", put(spec_of("PodMonitor"), "endpoints", []), "'endpoints' was"),
    Broken("one of a policy", put(spec_of("BackendTrafficPolicy"), "retries", 1), "'retries' was"),
    # What the operator refuses.
    Broken("a long name", put(lambda d: d.service["metadata"], "name", "a" * 48), "at most 47"),
    Broken(
        "an unknown upgrade",
        put(lambda d: d.spec, "upgradeStrategy", {"type": "Rolling"}),
        "one of None, NewCluster",
    ),
    Broken(
        "a negative delay",
        put(lambda d: d.spec, "rayClusterDeletionDelaySeconds", -1),
        "less than 0",
    ),
    Broken(
        "pods that restart",
        put(lambda d: d.pod("vae"), "restartPolicy", "Always"),
        "Never or unset with autoscaler v2",
    ),
    Broken(
        "a number among parameters",
        put(lambda d: d.head["rayStartParams"], "num-cpus", 0),
        "rayStartParams are texts",
    ),
    Broken(
        "resources twice",
        put(lambda d: d.group("vae"), "resources", {"CPU": "1"}),
        "and beside them",
    ),
    Broken(
        "Redis by the environment",
        add_env("head", "RAY_REDIS_ADDRESS", "redis:6379"),
        "beside gcsFaultToleranceOptions",
    ),
    Broken(
        "no port called serve",
        put(lambda d: d.container("head"), "ports", []),
        "no port is called serve",
    ),
    Broken(
        "an old Ray with tokens", put(lambda d: d.cluster, "rayVersion", "2.51.0"), "needs 2.52.0"
    ),
    Broken("two groups of one name", same_group_twice, "the name of 2 groups"),
    Broken("a range that is none", put(lambda d: d.group("vae"), "minReplicas", 7), "are no range"),
    Broken(
        "a head Service's name",
        put(lambda d: d.head, "headService", {"metadata": {"name": "a"}}),
        "not to be set",
    ),
    Broken("a suspended group", put(lambda d: d.group("vae"), "suspend", True), "suspended beside"),
    # Pod security.
    Broken(
        "a root user",
        put(lambda d: d.pod("vae")["securityContext"], "runAsUser", 0),
        "runAsUser is 0",
    ),
    Broken(
        "any user",
        take(lambda d: d.pod("vae")["securityContext"], "runAsNonRoot"),
        "runAsNonRoot is not true",
    ),
    Broken(
        "no seccomp",
        take(lambda d: d.pod("head")["securityContext"], "seccompProfile"),
        "seccompProfile.type",
    ),
    Broken(
        "escalation in an init container",
        take(
            lambda d: d.pod("vae")["initContainers"][0]["securityContext"],
            "allowPrivilegeEscalation",
        ),
        "pull-sdxl-lightning-4step: allowPrivilegeEscalation",
    ),
    Broken(
        "capabilities",
        take(lambda d: d.container("vae")["securityContext"], "capabilities"),
        "ALL is not dropped",
    ),
    Broken("a folder of the node", host_path, "hostPath is not allowed"),
    Broken(
        "the node's network", put(lambda d: d.pod("vae"), "hostNetwork", True), "hostNetwork is set"
    ),
    # Ray's schema of serveConfigV2, which Ray itself does not hold anybody to.
    Broken("a misspelt key of Serve's", misspelt_scaling, "min_replica: unknown key"),
    # Leyden.
    Broken("settings that differ", another_dtype, "its settings are not the Gateway's"),
    Broken(
        "a resource of another name",
        put(lambda d: d.group("vae")["rayStartParams"], "resources", '"{\\"vae\\":1}"'),
        "asks for leyden_vae, which no group has",
    ),
    Broken(
        "another stage's application",
        put(lambda d: d.serve["applications"][0]["args"], "stage", "vae"),
        "is this application's only deployment",
    ),
    Broken(
        "another number of Gateways",
        put(lambda d: d.gateway_config, "replicas", 2),
        "and 3 pods for them",
    ),
    Broken("more replicas than GPUs", more_gpus, "18 GPUs are needed at most, and 16 are there"),
    Broken("another port", put(lambda d: d.gateway_config, "port", 9001), "Leyden has 9001"),
    Broken(
        "Ray's metrics on the page's port",
        put(lambda d: d.group("gateway")["rayStartParams"], "metrics-export-port", "8002"),
        "is another port's",
    ),
    Broken(
        "a Gateway that only its pod reaches",
        put(lambda d: d.gateway_config, "host", "127.0.0.1"),
        "probes and clients do not reach it",
    ),
    Broken(
        "a Service of every pod",
        take(lambda d: spec_of("Service", "leyden")(d)["selector"], "leyden-gateway"),
        "Service leyden: picks",
    ),
    Broken(
        "a Service without h2c",
        take(lambda d: spec_of("Service", "leyden")(d)["ports"][0], "appProtocol"),
        "appProtocol None",
    ),
    Broken("no headless Service", lambda d: d.drop("Service", "-headless"), "without a cluster IP"),
    Broken(
        "a budget in percent",
        put(spec_of("PodDisruptionBudget"), "minAvailable", "50%"),
        "takes whole numbers alone",
    ),
    Broken(
        "a budget that holds every drain",
        put(spec_of("PodDisruptionBudget", "-gateway"), "minAvailable", 3),
        "minAvailable 3 of [3] pods",
    ),
    Broken(
        "a monitor of no port",
        put(lambda d: spec_of("PodMonitor")(d)["podMetricsEndpoints"][0], "port", "http"),
        "no port http",
    ),
    Broken(
        "KubeRay's own probe",
        take(lambda d: d.container("vae"), "readinessProbe"),
        "asks port 8000",
    ),
    Broken(
        "alive by readiness",
        put(lambda d: d.container("gateway")["livenessProbe"]["grpc"], "service", ""),
        "asks for ''",
    ),
    Broken(
        "a service that there is not",
        put(lambda d: d.container("gateway")["readinessProbe"]["grpc"], "service", "leyden"),
        "asks for 'leyden'",
    ),
    Broken("two handlers", two_handlers, "2 handlers"),
    Broken("a plaintext probe of TLS", with_tls, "speaks no TLS"),
    Broken("TLS without its Secret", with_tls, "no Secret is mounted there"),
    Broken(
        "too short a grace",
        put(lambda d: d.pod("denoiser"), "terminationGracePeriodSeconds", 30),
        "drain_timeout_s 120 and 15 more",
    ),
    Broken(
        "no hook before the end", take(lambda d: d.container("denoiser"), "lifecycle"), "no preStop"
    ),
    Broken(
        "requests below limits",
        put(lambda d: d.container("denoiser")["resources"], "requests", {"cpu": "1"}),
        "requests are not the limits",
    ),
    Broken("a Secret by subPath", sub_path, "a changed Secret is not seen"),
    Broken("keys for all", keys_for_all, "which it does not need"),
    Broken(
        "a token for workers",
        put(lambda d: d.pod("vae"), "automountServiceAccountToken", True),
        "vae: automountServiceAccountToken is not false",
    ),
    Broken(
        "an autoscaler without one",
        put(lambda d: d.pod("head"), "automountServiceAccountToken", False),
        "head: automountServiceAccountToken is not true",
    ),
    Broken(
        "an account that there is not",
        put(lambda d: d.pod("vae"), "serviceAccountName", "default"),
        "no ServiceAccount default",
    ),
    Broken(
        "weights that nobody pulls",
        lambda d: d.pod("vae")["initContainers"].pop(),
        "no init container pulls sdxl-lightning-8step",
    ),
    Broken("no policy", lambda d: d.drop("NetworkPolicy", "-ray"), "so Ray's ports are open"),
    Broken("a dashboard for clients", open_dashboard, "others reach [8265]"),
    Broken(
        "an unrestricted autoscaler",
        take(lambda d: d.cluster["autoscalerOptions"], "securityContext"),
        "autoscaler: allowPrivilegeEscalation",
    ),
    Broken(
        "a route to nowhere",
        put(lambda d: spec_of("GRPCRoute")(d)["rules"][0]["backendRefs"][0], "port", 8000),
        "no Service leyden with port 8000",
    ),
    Broken(
        "an upgrade that moves HTTP alone",
        put(lambda d: d.spec, "upgradeStrategy", {"type": "NewClusterWithIncrementalUpgrade"}),
        "only NewCluster moves gRPC",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_broken_release_is_caught(case: Broken) -> None:
    draft = Draft()
    case.change(draft)
    release = draft.release()
    try:
        faults = faults_of(release, "1.6")
    except NoModuleError as error:
        faults = faults_of(release, None)
        if not faults:
            pytest.skip(str(error))
    assert any(case.said in fault for fault in faults), faults


def test_each_rule_of_leydens_catches_something() -> None:
    catching = set()
    for case in CASES:
        draft = Draft()
        case.change(draft)
        release = draft.release()
        if serve_faults(release.serve_config):
            continue
        catching |= {rule.__name__ for rule in RULES if any(case.said in f for f in rule(release))}
    assert {rule.__name__ for rule in RULES} == catching
