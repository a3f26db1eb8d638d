"""The pods run, Ray in them serves, and the operator moves the Service to a new cluster.

Ray is real here, started by the very commands that the operator writes into the pods; `kubelet.py`
and `containers.py` say what stands in.
"""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from urllib.request import Request, urlopen

from cluster.control_plane.client import Object
from cluster.control_plane.world import Release, World, condition

from leyden_client import Client as Leyden
from leyden_client import LeydenError

__all__ = ["check_upgrade"]

_PROMPT = "A beautiful sunset over mountains"
_SERVICE = "leyden"
_ROWS = 6
"""Of a batch, after the upgrade of the Serve config."""
_ANSWER_TIMEOUT_S = 10.0
"""For Ray's dashboard."""


def check_upgrade(world: World, release: Release) -> None:
    """See it serve; change the Serve config, then the image; ask for images all the while."""
    report = world.report
    world.until("the operator finds the applications running", lambda: _is_ready(release))
    first = _active(release)
    report.holds("the RayService is Ready", _applications(release))
    image = _ask(_endpoint(world, release))
    report.holds("an image by the Service's endpoint", image)
    with _asked_meanwhile(world, release) as asked:
        _change_serve_config(world, release, first)
    # dev has one Gateway, and a node of Ray has room for one: the old one goes first. Of several
    # only one is gone at a time, which the seven machines show.
    gone_s = asked.longest_gap_s()
    note = report.holds if asked.refused <= {"no endpoint", "UnavailableError"} else report.fails
    note("upgrade of the Serve config: the one Gateway is replaced", f"{asked}; {gone_s:.0f} s")
    with _asked_meanwhile(world, release) as asked:
        _change_image(world, release, first)
    note = report.fails if asked.refused else report.holds
    note("upgrade of the image: no request is lost", str(asked))


def _change_serve_config(world: World, release: Release, first: str) -> None:
    """A change of serveConfigV2 alone is given to the cluster that there is."""
    release.upgrade(f"config.denoiser.max_batch_rows={_ROWS}")
    world.until("every application runs with the new config", lambda: _is_changed(world, release))
    world.until("the Service has an endpoint", lambda: _endpoints(world, release))
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


def _is_changed(world: World, release: Release) -> bool:
    """Say whether Serve has what the upgrade changed, and is through with it."""
    (head,) = release.pods("ray.io/node-type=head")
    url = f"http://{head['status']['podIP']}:8265/api/serve/applications/"
    # The operator makes a Secret of the cluster's name, with the token that Ray asks for.
    secret = world.client.get("secret", _active(release), release.namespace)
    token = base64.b64decode(secret["data"]["auth_token"]).decode()
    asked = Request(url, headers={"Authorization": f"Bearer {token}"})
    with urlopen(asked, timeout=_ANSWER_TIMEOUT_S) as answer:
        applications = json.load(answer)["applications"].values()
    configs = [one["deployed_app_config"]["args"]["config"] for one in applications]
    rows = {config["denoiser"]["max_batch_rows"] for config in configs if "denoiser" in config}
    return rows == {_ROWS} and {one["status"] for one in applications} == {"RUNNING"}


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


class _Asked:
    """What became of the images that were asked for, one after another."""

    def __init__(self) -> None:
        self._counted: Counter[str] = Counter()
        self._drawn_s = [time.monotonic()]
        self.refused: set[str] = set()
        """The kinds of errors."""

    def __str__(self) -> str:
        lost = {what: number for what, number in self._counted.items() if what != "images"}
        return f"{self._counted['images']} images; lost: {lost or 'none'}"

    def draw(self, endpoints: list[Object]) -> bool:
        """Ask for one at one of the endpoints; return False where there is none."""
        if not endpoints:
            self._fails("no endpoint", "no endpoint")
            return False
        chosen = endpoints[self._counted.total() % len(endpoints)]
        try:
            _ask(f"{chosen['addresses'][0]}:8001")
        except LeydenError as error:
            self._fails(type(error).__name__, f"{type(error).__name__}: {error}")
        else:
            self._counted["images"] += 1
            self._drawn_s.append(time.monotonic())
        return True

    def longest_gap_s(self) -> float:
        """Return the longest time between one image and the next."""
        return max(after - before for before, after in pairwise(self._drawn_s))

    def _fails(self, kind: str, how: str) -> None:
        self.refused.add(kind)
        self._counted[how] += 1


@contextmanager
def _asked_meanwhile(world: World, release: Release) -> Iterator[_Asked]:
    """Ask for one image after another, each at an endpoint that the Service has then."""
    asked = _Asked()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            if not asked.draw(_endpoints(world, release)):
                over.wait(1)

    thread = threading.Thread(target=ask, name="client")
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()
