"""The documents of one release, and how to find what belongs together in them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

__all__ = ["Group", "Release"]

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of like pods of the Ray cluster."""

    name: str
    template: Object
    least: int
    most: int
    resources: dict[str, float]
    """What Ray counts of its own: the custom resources of a pod."""

    @property
    def container(self) -> Object:
        """Ray's own, which is always the first."""
        first: Object = self.template["spec"]["containers"][0]
        return first

    @property
    def labels(self) -> dict[str, str]:
        """Of the pods."""
        labels: dict[str, str] = self.template["metadata"]["labels"]
        return labels

    @property
    def gpus(self) -> float:
        """Of a pod."""
        return float(self.container["resources"].get("limits", {}).get("nvidia.com/gpu", 0))

    @property
    def ports(self) -> dict[str, int]:
        """The container's, by name."""
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}

    @property
    def has_gateway(self) -> bool:
        """Whether a Gateway runs on each pod."""
        return "leyden_gateway" in self.resources


@dataclass(frozen=True)
class Release:
    """What `helm template` printed."""

    documents: tuple[Object, ...]

    @classmethod
    def parse(cls, text: str) -> "Release":
        """Read the documents of a manifest."""
        loaded = yaml.load_all(text, yaml.CSafeLoader)
        return cls(tuple(document for document in loaded if document))

    def of_kind(self, kind: str) -> Iterator[Object]:
        """Yields the documents of a kind."""
        return (document for document in self.documents if document["kind"] == kind)

    @cached_property
    def service(self) -> Object:
        """The one RayService."""
        (service,) = self.of_kind("RayService")
        return service

    @property
    def cluster(self) -> Object:
        """Its Ray cluster."""
        cluster: Object = self.service["spec"]["rayClusterConfig"]
        return cluster

    @cached_property
    def serve_config(self) -> Object:
        """Its serveConfigV2."""
        config: Object = yaml.load(self.service["spec"]["serveConfigV2"], yaml.CSafeLoader)
        return config

    @cached_property
    def gateway_config(self) -> Object:
        """The Leyden config of the Gateways, which is the whole."""
        gateway = self.serve_config["applications"][-1]
        config: Object = gateway["args"]["config"]
        return config

    @cached_property
    def head(self) -> Group:
        """The head."""
        return Group("head", self.cluster["headGroupSpec"]["template"], 1, 1, {})

    @cached_property
    def workers(self) -> tuple[Group, ...]:
        """The worker groups."""
        return tuple(
            Group(
                each["groupName"],
                each["template"],
                each["minReplicas"],
                each["maxReplicas"],
                _resources(each["rayStartParams"].get("resources", '"{}"')),
            )
            for each in self.cluster["workerGroupSpecs"]
        )

    @property
    def groups(self) -> tuple[Group, ...]:
        """Head and workers."""
        return (self.head, *self.workers)

    def hosts(self, selector: dict[str, str]) -> list[Group]:
        """Returns the groups whose pods a selector picks."""
        return [each for each in self.groups if selector.items() <= each.labels.items()]


def _resources(param: str) -> dict[str, float]:
    # The shell of KubeRay's start command takes off the outer quotes and the backslashes.
    loaded: dict[str, float] = json.loads(json.loads(param))
    return loaded
