"""What a kubelet does for the pods of one node: starts them, asks their probes, ends them."""

import base64
import json
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cluster.control_plane.client import Client, Object, RefusedError
from cluster.control_plane.containers import Container, environment_of
from cluster.control_plane.pod_network import PodNetwork, PodPlace
from cluster.control_plane.probes import passes

__all__ = ["Kubelet"]

_LOOK_AGAIN_S = 1.0
_RETRY_S = 2.0
_PROBE_S = 10.0


Change = Callable[[Object], Object]
"""Makes of a pod's spec another one, which then runs."""


def _unchanged(spec: Object) -> Object:
    return spec


class Kubelet:
    """Runs the pods that the scheduler binds to one node."""

    def __init__(
        self, client: Client, node: str, network: str, folder: Path, changed: Change = _unchanged
    ) -> None:
        self._client = client
        self._changed = changed
        self._node = node
        self._folder = folder
        self._network = PodNetwork(network)
        self._pods: dict[str, _Pod] = {}
        self._ending = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._follow, name="kubelet")
        self._thread.start()

    def must_run(self) -> None:
        """Raise what went wrong, if anything has."""
        if self._failure:
            raise RuntimeError(f"the kubelet failed:\n{self._failure}")

    def end(self) -> None:
        """End every pod at once."""
        self._ending.set()
        self._thread.join()
        for pod in self._pods.values():
            pod.kill()
        self._network.remove()

    def _follow(self) -> None:
        while not self._ending.wait(_LOOK_AGAIN_S):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - told to whoever waits
                self._failure = traceback.format_exc()
                return

    def _look(self) -> None:
        mine = [p for p in self._client.list("pods") if p["spec"].get("nodeName") == self._node]
        names = self._names()
        for bound in mine:
            uid = bound["metadata"]["uid"]
            if uid not in self._pods:
                runs = {**bound, "spec": self._changed(bound["spec"])}
                self._pods[uid] = _Pod(self._client, runs, self._network.place(), self._folder)
            pod = self._pods[uid]
            if pod.failure:
                self._failure = pod.failure
            pod.place.resolve(names)
            if "deletionTimestamp" in bound["metadata"]:
                pod.leave()

    def _names(self) -> dict[str, str]:
        """Return the names of Services, each with the address of one pod behind it.

        It stands for a cluster's DNS and for kube-proxy together.
        """
        pods = [pod for pod in self._pods.values() if not pod.gone]
        found: dict[str, str] = {}
        for service in self._client.list("services"):
            selector = service["spec"].get("selector") or {}
            where = service["metadata"]["namespace"]
            behind = [
                pod.place.address
                for pod in pods
                if pod.namespace == where and selector and selector.items() <= pod.labels.items()
            ]
            if behind:
                name = f"{service['metadata']['name']}.{where}.svc"
                found |= {name: behind[-1], f"{name}.cluster.local": behind[-1]}
        return found


class _Pod:
    """One pod, from when it is bound until it is gone: a thread of its own."""

    def __init__(self, client: Client, bound: Object, place: PodPlace, folder: Path) -> None:
        self.place = place
        self.namespace: str = bound["metadata"]["namespace"]
        self.labels: dict[str, str] = bound["metadata"]["labels"]
        self.gone = False
        self.failure = ""
        self._client = client
        self._name: str = bound["metadata"]["name"]
        self._spec: Object = bound["spec"]
        self._object = bound
        self._folder = folder / self._name
        self._leaving = threading.Event()
        self._killed = threading.Event()
        self._containers: dict[str, Container] = {}
        self._thread = threading.Thread(target=self._live_safely, name=self._name)
        self._thread.start()

    def leave(self) -> None:
        """Begin to end it, with its grace."""
        self._leaving.set()

    def kill(self) -> None:
        """End it now."""
        self._killed.set()
        self._leaving.set()
        for container in list(self._containers.values()):
            container.kill()  # one that has its grace just now, too
        self._thread.join()
        for container in self._containers.values():
            container.kill()  # one that was started meanwhile

    def _live_safely(self) -> None:
        try:
            self._live()
        except Exception:  # noqa: BLE001 - told to whoever waits
            self.failure = traceback.format_exc()

    def _live(self) -> None:
        self._tell("Pending", initialized=False, ready=False)
        for spec in self._spec.get("initContainers", []):
            if not self._complete(spec):
                break
        else:
            for spec in self._spec["containers"]:
                self._containers[spec["name"]] = self._start(spec)
            self._tell("Running", initialized=True, ready=False)
            self._probe_until_left()
        self._leave()

    def _complete(self, spec: Object) -> bool:
        """Run an init container until it succeeds; return False if the pod is to go."""
        while not self._leaving.is_set():
            self._containers[spec["name"]] = container = self._start(spec)
            while container.code is None and not self._leaving.wait(_LOOK_AGAIN_S):
                pass
            if container.code == 0:
                return True
            self._leaving.wait(_RETRY_S)
        return False

    def _start(self, spec: Object) -> Container:
        status = {**self._object["status"], "podIP": self.place.address}
        pod = {**self._object, "status": status}
        environment = environment_of(spec, pod, self._secrets())
        return Container(spec, environment, self.place, self._folder)

    def _secrets(self) -> dict[str, dict[str, str]]:
        return {
            secret["metadata"]["name"]: {
                key: base64.b64decode(value).decode()
                for key, value in secret.get("data", {}).items()
            }
            for secret in self._client.list("secrets", self.namespace)
        }

    def _probe_until_left(self) -> None:
        """Ask startup and readiness probes, of every container; liveness kills nobody here."""
        was_ready, started = False, False
        while not self._leaving.wait(_LOOK_AGAIN_S):
            started = started or self._all_pass("startupProbe")
            is_ready = started and self._all_pass("readinessProbe")
            if is_ready != was_ready:
                self._tell("Running", initialized=True, ready=is_ready)
                was_ready = is_ready

    def _all_pass(self, kind: str) -> bool:
        return all(self._passes(spec, kind) for spec in self._spec["containers"])

    def _passes(self, spec: Object, kind: str) -> bool:
        container = self._containers[spec["name"]]

        def execute(command: list[str]) -> bool:
            return container.execute(command, _PROBE_S)

        return container.code is None and passes(spec.get(kind), self.place.address, execute)

    def _leave(self) -> None:
        """Do what a kubelet does: preStop within the grace, SIGTERM, SIGKILL, and the object."""
        grace_s = float(self._spec.get("terminationGracePeriodSeconds", 30))
        begun = time.monotonic()
        if not self._killed.is_set():
            for spec in self._spec["containers"]:
                hook = spec.get("lifecycle", {}).get("preStop", {}).get("exec")
                running = self._containers.get(spec["name"])
                if hook and running and running.code is None:
                    running.execute(hook["command"], grace_s)
        for container in self._containers.values():
            left = 0.0 if self._killed.is_set() else grace_s - (time.monotonic() - begun)
            container.end(max(left, 0.0))
        self.gone = True
        self.place.remove()
        if not self._killed.is_set():
            now = ("--force", "--grace-period=0", "--ignore-not-found", "--wait=false")
            self._client.run("delete", "pod", self._name, "-n", self.namespace, *now)

    def _tell(self, phase: str, *, initialized: bool, ready: bool) -> None:
        conditions = {
            "PodReadyToStartContainers": True,
            "Initialized": initialized,
            "ContainersReady": ready,
            "Ready": ready,
            "PodScheduled": True,
        }
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {
            "phase": phase,
            "podIP": self.place.address,
            "podIPs": [{"ip": self.place.address}],
            "startTime": now,
            "conditions": [
                {"type": kind, "status": str(holds), "lastTransitionTime": now}
                for kind, holds in conditions.items()
            ],
            "containerStatuses": [
                {
                    "name": spec["name"],
                    "image": spec["image"],
                    "imageID": "",
                    "restartCount": 0,
                    "ready": ready,
                    "started": initialized,
                    "state": {"running": {"startedAt": now}} if initialized else {"waiting": {}},
                }
                for spec in self._spec["containers"]
            ],
        }
        where = ("pod", self._name, "-n", self.namespace, "--subresource=status", "--type=merge")
        try:
            self._client.run("patch", *where, "-p", json.dumps({"status": status}))
        except RefusedError as refused:
            if "NotFound" not in str(refused):
                raise
