"""Everything that is wrong with a release, by all the checks that need no cluster."""

import json
from functools import cache
from typing import Any

import kubernetes_validate
from support.charts.crds import crd_faults, pod_templates
from support.charts.leyden_rules import leyden_faults
from support.charts.operator_rules import operator_faults
from support.charts.pod_security import pod_security_faults
from support.charts.release import Release

from leyden_server.controller.serve_schema import faults_of as serve_faults

__all__ = ["core_faults", "faults_of"]

Object = dict[str, Any]

KUBERNETES = ("1.29", "1.37")
"""The oldest release that the chart takes, and the newest that there are schemas of."""

CUSTOM = {"RayService", "GRPCRoute", "BackendTrafficPolicy", "PodMonitor", "PrometheusRule"}


def faults_of(release: Release, kuberay: str | None) -> list[str]:
    """Returns the faults of a release; `kuberay` names the definitions that it is held to.

    None: custom resources are held to none.

    Raises:
        NoModuleError: definitions are not to be had.

    """
    faults: list[str] = []
    for document in release.documents:
        if document["kind"] in CUSTOM:
            faults += crd_faults(document, kuberay) if kuberay else ()
        else:
            faults += core_faults(document)
        for name, template in pod_templates(document):
            faults += [f"{name}: {fault}" for fault in pod_security_faults(template)]
            faults += [f"{name}: {fault}" for fault in core_faults(_pod(template))]
    faults += operator_faults(release.service)
    of_config = serve_faults(release.serve_config)
    faults += [f"serveConfigV2: {fault}" for fault in of_config]
    # What is not even a Serve config says nothing that Leyden's rules could read.
    return faults if of_config else [*faults, *leyden_faults(release)]


def core_faults(document: Object) -> tuple[str, ...]:
    """Returns what Kubernetes' own types do not allow, unknown fields included."""
    return _core_faults(json.dumps(document))


@cache
def _core_faults(text: str) -> tuple[str, ...]:
    document = json.loads(text)
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path)
            return (f"{document['kind']}: {where}: {error.message[:300]} (Kubernetes {version})",)
    return ()


def _pod(template: Object) -> Object:
    metadata = {**template["metadata"], "name": "pod"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
