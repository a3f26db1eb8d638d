"""docs/runbook.md's commands, word for word, on the cluster that stands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cluster.control_plane.client import Object
from cluster.control_plane.world import World
from support.runbook import Block, to_run

__all__ = ["check_runbook"]

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = "leyden"
DENOISERS = 2
"""The place of their group, as in the page."""
RUNNERS = ("make test-cluster ARGS=control-plane", "tests/kubernetes/test_runbook.py")


def check_runbook(world: World) -> None:
    """Run every block that says so, in order, and look at what the page says comes of it."""
    folder = world.folder / "runbook"
    folder.mkdir()
    (folder / "k8s").symlink_to(ROOT / "k8s")
    shutil.copy(ROOT / "k8s/manifests/production/values.yaml", folder)
    for block in to_run(*RUNNERS):
        said = _run(world, block, folder)
        if said is not None:
            _look(world, block, folder)
    world.client.run("delete", "namespace", NAMESPACE, "--wait=false")


def _run(world: World, block: Block, folder: Path) -> str | None:
    """Run a block; return what it said, and report. None: it failed."""
    before = next((wait for text, wait in _WAITS.items() if text in block.text), None)
    if before is not None:
        before(world)
    check = f"runbook, {block.section}: {block.commands[-1][:60]}"
    result = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block.text],
        cwd=folder,
        env=_environment(world, folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        world.report.fails(check, result.stdout[-300:])
        return None
    world.report.holds(check, result.stdout.strip()[-100:])
    return result.stdout


def _environment(world: World, folder: Path) -> dict[str, str]:
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    if not (programs / "helm").exists():
        (programs / "helm").symlink_to(world.helm)
    # leyden and kubectl are this environment's.
    path = f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return {**os.environ, "PATH": path, "KUBECONFIG": str(world.plane.kubeconfig)}


def _pods(world: World, component: str) -> list[Object]:
    selector = f"app.kubernetes.io/component={component}"
    pods = world.client.list("pods", NAMESPACE, selector)
    return [pod for pod in pods if pod["spec"].get("nodeName")]


def _wait_for_a_gateway(world: World) -> None:
    world.until("a pod of a Gateway has a node", lambda: bool(_pods(world, "gateway")))


def _wait_for_redis(world: World) -> None:
    name = f"{NAMESPACE}-redis-0"
    world.until("Redis has a pod", lambda: bool(world.client.find("pod", name, NAMESPACE)))


def _wait_for_a_cluster(world: World) -> None:
    world.until("there is a Ray cluster", lambda: bool(_most_denoisers(world)))


_WAITS: dict[str, Callable[[World], None]] = {
    "kubectl drain": _wait_for_a_gateway,
    "delete pod leyden-redis-0": _wait_for_redis,
    "workerGroups[2].maxPods=24": _wait_for_a_cluster,
}
"""What has to be there before a block, by a part of its text."""


def _look(world: World, block: Block, folder: Path) -> None:
    """See whether what a block is for has come about."""
    if "workerGroups[2].maxPods=24" in block.text:
        found = _most_denoisers(world)
        _judge(world, "helm upgrade alone reaches no running pods' number", 24 not in found, found)
    elif "workerGroupSpecs/2/maxReplicas" in block.text:
        found = _most_denoisers(world)
        _judge(world, "the patch does", found == {24}, found)
    elif "keys-now.yaml" in block.text:
        kept = (folder / "keys-now.yaml").read_text(encoding="utf-8")
        # The page removes the old key from the file before it has the Secret's.
        _judge(world, "the Secret has the keys", "name: alice-2\n" in kept, f"{len(kept)} bytes")


def _most_denoisers(world: World) -> set[int]:
    clusters = world.client.list("rayclusters", NAMESPACE)
    return {int(c["spec"]["workerGroupSpecs"][DENOISERS]["maxReplicas"]) for c in clusters}


def _judge(world: World, check: str, holds: bool, seen: object) -> None:
    note = world.report.holds if holds else world.report.fails
    note(f"runbook: {check}", str(seen))
