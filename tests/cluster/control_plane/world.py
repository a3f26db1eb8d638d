"""What every check of this part has in hand, and the chart as its user installs it."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster.control_plane.client import Client, Object, RefusedError
from cluster.control_plane.daemons import Daemons, Seen, until
from cluster.control_plane.plane import Plane
from cluster.report import Report

__all__ = ["RELEASE", "Release", "World", "condition"]

ROOT = Path(__file__).parents[3]
CHART = ROOT / "k8s/charts/leyden"
RELEASE = "leyden"
_RESTRICTED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
}


@dataclass(frozen=True)
class World:
    """One cluster."""

    plane: Plane
    client: Client
    daemons: Daemons
    report: Report
    helm: Path
    folder: Path

    def until(self, what: str, seen: Callable[[], Seen]) -> Seen:
        """Wait until something is seen, and return it."""
        self.report.say(f"waiting until {what}")
        return until(what, seen, self.daemons)


class Release:
    """The chart with one of its files of values, in a namespace of its own."""

    def __init__(self, world: World, values: str) -> None:
        self._world = world
        self.values = values
        self.namespace = f"{RELEASE}-{values}"
        self._file = ROOT / f"k8s/manifests/{values}/values.yaml"
        self._read: dict[str, Any] = yaml.safe_load(self._file.read_text(encoding="utf-8")) or {}

    def prepare(self) -> None:
        """Make the namespace, which admits only restricted pods, and the Secrets it is to have."""
        metadata = {"name": self.namespace, "labels": _RESTRICTED}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self._world.client.create(namespace, *map(self._secret, sorted(self._secrets())))

    def install(self) -> None:
        """Install it."""
        self._helm("install", RELEASE, str(CHART), "-f", str(self._file))

    def upgrade(self, *settings: str) -> None:
        """Change it, each setting as NAME=VALUE."""
        # Helm 4 applies on the server's side, where the operator has become an owner of fields.
        forced = ("--force-conflicts",) if self._helm("version", "--short")[:2] == "v4" else ()
        changed = [word for setting in settings for word in ("--set", setting)]
        self._helm("upgrade", RELEASE, str(CHART), "-f", str(self._file), *changed, *forced)

    def uninstall(self) -> None:
        """Take it away again."""
        self._helm("uninstall", RELEASE)

    def manifest(self) -> list[Object]:
        """Return what Helm sent to the API server."""
        sent = yaml.safe_load_all(self._helm("get", "manifest", RELEASE))
        return [one for one in sent if one]

    def service(self) -> Object:
        """Return the RayService."""
        (found,) = self._world.client.list("rayservices", self.namespace)
        return found

    def clusters(self) -> list[Object]:
        """Return its Ray clusters, oldest first."""
        found = self._world.client.list("rayclusters", self.namespace)
        return sorted(found, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def pods(self, selector: str = "") -> list[Object]:
        """Return its pods, those that are going left out."""
        found = self._world.client.list("pods", self.namespace, selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def warnings(self) -> list[str]:
        """Return what Kubernetes and the operator warned of, newest last."""
        events = self._world.client.list("events", self.namespace)
        events.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
        return [f"{e['reason']}: {e['message']}" for e in events if e["type"] == "Warning"]

    def _secrets(self) -> set[str]:
        """Return the names of Secrets that the values point at."""
        return set(_names_of_secrets(self._read))

    def _secret(self, name: str) -> Object:
        keys = ("tls.crt", "tls.key", "ca.crt", "keys.yaml", "password", "token")
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace},
            "stringData": dict.fromkeys(keys, "no pod reads this here"),
        }

    def _helm(self, *arguments: str) -> str:
        where = ("--namespace", self.namespace, "--kubeconfig", str(self._world.plane.kubeconfig))
        command = (str(self._world.helm), *arguments, *where)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RefusedError(result.stderr.strip())
        return result.stdout


def condition(of: Object, kind: str) -> Object | None:
    """Return one condition of an object's status."""
    found = [c for c in of.get("status", {}).get("conditions", []) if c["type"] == kind]
    return found[0] if found else None


def _names_of_secrets(values: object, key: str = "") -> list[str]:
    """Return every `secretName`, and every `name` below a `…Secret`, that is not empty."""
    if isinstance(values, dict):
        named = [values["name"]] if key.endswith("Secret") and values.get("name") else []
        below = [name for k, v in values.items() for name in _names_of_secrets(v, k)]
        return named + below
    if isinstance(values, list):
        return [name for value in values for name in _names_of_secrets(value)]
    return [str(values)] if key == "secretName" and values else []
