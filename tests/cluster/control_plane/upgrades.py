"""The pods run, Ray in them serves, and the operator moves the Service to a new cluster.

Ray is real here, started by the very commands that the operator writes into the pods; `kubelet.py`
and `containers.py` say what stands in.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.control_plane.client import Object
from cluster.control_plane.world import Release, World, condition

from leyden_client import Client as Leyden
from leyden_client import LeydenError

__all__ = ["check_upgrade"]

_PROMPT = "A beautiful sunset over mountains"
_SERVICE = "leyden"


def check_upgrade(world: World, release: Release) -> None:
    """See it serve; change the Serve config, then the image; ask for images all the while."""
    report = world.report
    world.until("the operator finds the applications running", lambda: _is_ready(release))
    first = _active(release)
    report.holds("the RayService is Ready", _applications(release))
    image = _ask(_endpoint(world, release))
    report.holds("an image by the Service's endpoint", image)
    with _asked_meanwhile(world, release) as counted:
        _change_serve_config(world, release, first)
        _change_image(world, release, first)
    lost = {what: number for what, number in counted.items() if what != "images"}
    note = report.fails if lost else report.holds
    note("upgrade: no request is lost", f"{counted['images']} images; lost: {lost or 'none'}")


def _change_serve_config(world: World, release: Release, first: str) -> None:
    """A change of serveConfigV2 alone is given to the cluster that there is."""
    release.upgrade("config.denoiser.max_batch_rows=6")
    before = _updates(world, release)
    world.until("the cluster is given the new config", lambda: _updates(world, release) > before)
    world.until("the applications run again", lambda: _is_ready(release))
    clusters = [cluster["metadata"]["name"] for cluster in release.clusters()]
    note = world.report.holds if clusters == [first] else world.report.fails
    note("upgrade of the Serve config: the same cluster, in place", ", ".join(clusters))


def _change_image(world: World, release: Release, first: str) -> None:
    """A change of the pods makes a new cluster, and the old one goes when the new one serves."""
    release.upgrade("image.cpuTag=another")
    clusters = world.until("there is a second cluster", lambda: _two(release))
    second = str(clusters[-1]["metadata"]["name"])
    world.report.holds("upgrade of the image: a new cluster beside the old", f"{first}, {second}")
    world.until("the new cluster is the active one", lambda: _active(release) == second)
    head = world.client.get("service", f"{_SERVICE}-head-svc", release.namespace)
    points_at = head["spec"]["selector"]["ray.io/cluster"]
    note = world.report.holds if points_at == second else world.report.fails
    note("upgrade of the image: the operator's Services move", f"they select {points_at}")
    world.until("the old cluster is gone", lambda: len(release.clusters()) == 1)
    world.until("only new pods are left", lambda: _clusters_served(world, release) == {second})
    world.report.holds("upgrade of the image: the old cluster goes", f"{second} alone is left")


def _is_ready(release: Release) -> bool:
    ready = condition(release.service(), "Ready") or {}
    return ready.get("status") == "True"


def _active(release: Release) -> str:
    return str(release.service()["status"]["activeServiceStatus"]["rayClusterName"])


def _applications(release: Release) -> str:
    found = release.service()["status"]["activeServiceStatus"]["applicationStatuses"]
    return ", ".join(f"{name} {status['status']}" for name, status in sorted(found.items()))


def _two(release: Release) -> list[Object]:
    clusters = release.clusters()
    return clusters if len(clusters) > 1 else []


def _updates(world: World, release: Release) -> int:
    events = world.client.list("events", release.namespace)
    return sum(int(e.get("count", 1)) for e in events if e["reason"] == "UpdatedServeApplications")


def _endpoints(world: World, release: Release) -> list[Object]:
    """Return what the chart's Service sends requests to now."""
    selector = f"kubernetes.io/service-name={_SERVICE}"
    slices = world.client.list("endpointslices", release.namespace, selector)
    every = [endpoint for one in slices for endpoint in one.get("endpoints") or []]
    return [endpoint for endpoint in every if endpoint["conditions"].get("ready")]


def _endpoint(world: World, release: Release) -> str:
    found = world.until("the Service has an endpoint", lambda: _endpoints(world, release))
    return f"{found[0]['addresses'][0]}:8001"


def _clusters_served(world: World, release: Release) -> set[str]:
    names = {endpoint["targetRef"]["name"] for endpoint in _endpoints(world, release)}
    pods = {pod["metadata"]["name"]: pod for pod in release.pods()}
    return {str(pods[n]["metadata"]["labels"]["ray.io/cluster"]) for n in names if n in pods}


def _ask(target: str) -> str:
    begun = time.monotonic()
    with Leyden(target) as client:
        (image,) = client.generate_image(_PROMPT, seed=1).images
    return f"{len(image.data)} bytes in {time.monotonic() - begun:.1f} s from {target}"


@contextmanager
def _asked_meanwhile(world: World, release: Release) -> Iterator[Counter[str]]:
    """Ask for one image after another, each at an endpoint that the Service has then."""
    counted: Counter[str] = Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            ready = _endpoints(world, release)
            if not ready:
                counted["no endpoint"] += 1
                over.wait(1)
                continue
            try:
                _ask(f"{ready[counted.total() % len(ready)]['addresses'][0]}:8001")
            except LeydenError as error:
                counted[f"{type(error).__name__}: {error}"] += 1
            else:
                counted["images"] += 1

    thread = threading.Thread(target=ask, name="client")
    thread.start()
    try:
        yield counted
    finally:
        over.set()
        thread.join()
