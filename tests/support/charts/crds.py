"""Custom resources against their definitions, strictly: an unknown field is a fault.

The API server drops unknown fields of most definitions in silence, and their schemas let them
through. Here every object that has properties is closed; `required` holds only where the API
server would not fill in a default.
"""

import json
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from support.charts.go_modules import GoModule

__all__ = ["CRD_FOLDER", "KUBERAY", "crd_faults", "kuberay_crds", "pod_templates"]

Schema = dict[str, Any]

CRD_FOLDER = "KUBERAY_CRDS"
"""Names a folder with `ray.io_rayservices.yaml` of a further release of KubeRay."""

KUBERAY = {
    "1.5": GoModule(
        "github.com/ray-project/kuberay/ray-operator",
        "v1.5.0",
        "h1:KCjCQ7PSsvs9Ke+90CZbbs498nuaIJ/JkXk4vd54EVg=",
    ),
    "1.6": GoModule(
        "github.com/ray-project/kuberay/ray-operator",
        "v1.6.2",
        "h1:XUckRswLMyk71D00L62d2Vanh0fVkNqu56+IF/rr+O0=",
    ),
}
"""By the minor release that `kuberay.version` names."""

RAY_SERVICES = "config/crd/bases/ray.io_rayservices.yaml"

GATEWAY_API = GoModule(
    "sigs.k8s.io/gateway-api", "v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="
)
PROMETHEUS = GoModule(
    "github.com/prometheus-operator/prometheus-operator",
    "v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
)
ENVOY_GATEWAY = GoModule(
    "github.com/envoyproxy/gateway", "v1.9.1", "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY="
)

OTHERS = {
    "GRPCRoute": (
        GATEWAY_API,
        "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
    ),
    "PodMonitor": (
        PROMETHEUS,
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    "PrometheusRule": (
        PROMETHEUS,
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "BackendTrafficPolicy": (
        ENVOY_GATEWAY,
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_backendtrafficpolicies.yaml",
    ),
}


def crd_faults(document: dict[str, Any], kuberay: str) -> tuple[str, ...]:
    """Returns what is wrong with a custom resource; `kuberay` as `kuberay_crds` names it.

    Raises:
        NoModuleError: its definition cannot be had.

    """
    return _faults(json.dumps(document), kuberay if document["kind"] == "RayService" else "")


@cache
def _faults(text: str, kuberay: str) -> tuple[str, ...]:
    document = json.loads(text)
    kind = document["kind"]
    validator = _validator(kind, document["apiVersion"].partition("/")[2], kuberay)
    return tuple(
        f"{kind}: {'.'.join(str(part) for part in error.absolute_path) or 'the whole'}: "
        f"{error.message[:300]}"
        for error in validator.iter_errors(_without_nulls(document))
    )


def kuberay_crds() -> dict[str, Callable[[], Schema]]:
    """Returns how to get the definition of RayServices of each release that is at hand."""
    known: dict[str, Callable[[], Schema]] = {
        version: partial(_of_module, module, RAY_SERVICES) for version, module in KUBERAY.items()
    }
    folder = os.environ.get(CRD_FOLDER)
    if folder:
        file = Path(folder) / Path(RAY_SERVICES).name
        known[CRD_FOLDER] = lambda: _parse(file.read_text("utf-8"))
    return known


def _of_module(module: GoModule, file: str) -> Schema:
    return _parse(module.read(file))


def _parse(text: str) -> Schema:
    definition: Schema = yaml.load(text, yaml.CSafeLoader)
    return definition


@cache
def _validator(kind: str, version: str, kuberay: str) -> jsonschema.Draft202012Validator:
    definition = kuberay_crds()[kuberay]() if kuberay else _of_module(*OTHERS[kind])
    versions = {each["name"]: each for each in definition["spec"]["versions"]}
    schema: Schema = versions[version]["schema"]["openAPIV3Schema"]
    # What every object has, whatever its definition says.
    whole = {**schema, "properties": {**schema["properties"], "metadata": {"type": "object"}}}
    return jsonschema.Draft202012Validator(_closed(whole))


def _closed(schema: Schema) -> Schema:
    closed = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    properties = schema.get("properties")
    if properties:
        closed["properties"] = {name: _closed(each) for name, each in properties.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed["additionalProperties"] = False
        filled = {name for name, each in properties.items() if "default" in each}
        if "required" in schema:
            closed["required"] = [name for name in schema["required"] if name not in filled]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            closed[key] = _closed(schema[key])
    return closed


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def pod_templates(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each pod template of a document, with a name for people."""
    spec = document.get("spec", {})
    if document["kind"] == "RayService":
        cluster = spec["rayClusterConfig"]
        yield "head", cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            yield group["groupName"], group["template"]
    elif document["kind"] in {"StatefulSet", "Deployment", "Job"}:
        yield document["metadata"]["name"], spec["template"]
