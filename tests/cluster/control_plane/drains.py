"""A drain waits for the budget of the Gateways' pods, and goes on once there are enough again."""

from cluster.control_plane.client import RefusedError
from cluster.control_plane.cluster import KWOKS
from cluster.control_plane.world import Release, World, condition

__all__ = ["check_drain"]

_GATEWAYS = "leyden-gateway=true"
_TRIES_S = 30
"""kubectl asks again every 5 s."""


def check_drain(world: World, release: Release) -> None:
    """Drain two nodes of Gateways; where no other node can take the pods, the second waits."""
    budget = _budget(world, release)
    world.until("the budget counts the pods", lambda: _allowed(world, release, budget) > 0)
    status = world.client.get("pdb", budget, release.namespace)["status"]
    seen = f"{status['currentHealthy']} healthy, {status['desiredHealthy']} wanted"
    world.report.holds("drain: the budget knows its pods", seen)
    first, second, *_ = _nodes_of_gateways(release)
    nodes = [node["metadata"]["name"] for node in world.client.list("nodes", selector=KWOKS)]
    world.client.run("cordon", *nodes)
    _drain(world, first)
    world.report.holds("drain: the first node empties", f"one of the budget's pods left {first}")
    try:
        _drain(world, second)
    except RefusedError as refused:
        held = "disruption budget" in str(refused)
        note = world.report.holds if held else world.report.fails
        note("drain: the budget holds the second back", _told(str(refused)))
    else:
        world.report.fails("drain: the budget holds the second back", f"{second} was emptied")
    world.client.run("uncordon", *(node for node in nodes if node != second))
    world.until("the lost Gateway runs again", lambda: _allowed(world, release, budget) > 0)
    _drain(world, second)
    world.report.holds("drain: the second goes on when the lost pod is back", f"{second} is empty")
    world.client.run("uncordon", second)


def _budget(world: World, release: Release) -> str:
    budgets = world.client.list("pdb", release.namespace)
    labels = release.pods(_GATEWAYS)[0]["metadata"]["labels"].items()
    (name,) = [
        b["metadata"]["name"]
        for b in budgets
        if b["spec"]["selector"]["matchLabels"].items() <= labels
    ]
    return str(name)


def _allowed(world: World, release: Release, budget: str) -> int:
    found = world.client.get("pdb", budget, release.namespace)
    failed = condition(found, "DisruptionAllowed") or {}
    if failed.get("reason") == "SyncFailed":
        raise RuntimeError(f"the budget cannot be counted: {failed['message']}")
    return int(found.get("status", {}).get("disruptionsAllowed", 0))


def _nodes_of_gateways(release: Release) -> list[str]:
    return sorted({str(pod["spec"]["nodeName"]) for pod in release.pods(_GATEWAYS)})


def _drain(world: World, node: str) -> None:
    options = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={_TRIES_S}s")
    world.report.say(f"kubectl drain {node}")
    world.client.run("drain", node, *options)


def _told(complaint: str) -> str:
    lines = [line for line in complaint.splitlines() if "disruption budget" in line]
    return lines[0] if lines else complaint
