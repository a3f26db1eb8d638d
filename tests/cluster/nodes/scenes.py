"""What is done to the cluster under load, and what clients see of it."""

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.nodes.load import UNANSWERED, Load
from cluster.nodes.production import MODEL
from cluster.nodes.ray_nodes import GCS_PORT, Cluster
from cluster.nodes.serve_api import ServeApi
from cluster.report import Report
from support.patience import PATIENCE_S
from support.running_server import eventually

__all__ = ["SCENES", "Stage"]

CALM_S = 15.0
"""Of load before something is done, to compare with."""

LOOK_EVERY_S = 0.5

SHORT_CUT_S = 10.0
"""Shorter than Ray takes to give a node up."""


@dataclass
class Stage:
    """All that a scene has."""

    cluster: Cluster
    api: ServeApi
    config: dict[str, Any]
    homes: dict[str, tuple[str, ...]]
    """By application, the machines that its replicas belong on, one each."""
    report: Report
    clients: int

    @property
    def gateways(self) -> list[str]:
        """The Gateways' addresses."""
        names = next(names for app, names in self.homes.items() if app.endswith("-gateway"))
        return [f"{self.address(name)}:8001" for name in names]

    def address(self, name: str) -> str:
        """Return a machine's address."""
        return self.cluster.nodes[name].machine.address

    def is_whole(self) -> bool:
        """Tell whether every node is there, and every replica where it belongs."""
        alive = {address for address, state in self.api.nodes().items() if state == "ALIVE"}
        if alive != {node.machine.address for node in self.cluster.nodes.values()}:
            return False
        replicas = self.api.replicas()
        return all(
            replicas.get(application) == sorted(map(self.address, names))
            for application, names in self.homes.items()
        )

    def load(self) -> Load:
        """Return clients that ask the Gateways."""
        return Load(self.gateways, self.clients, MODEL)


def under_load(stage: Stage, what: str, do: Callable[[Stage], None], *, may_fail: str = "") -> None:
    """Do something under load; report what clients saw of it, and when all was well again.

    `may_fail` is the one error that is no loss.
    """
    with stage.load() as load:
        begun_s = time.monotonic()
        eventually(lambda: load.succeeded_since(begun_s) >= 2 * stage.clients)
        begun_s = time.monotonic()
        eventually(lambda: time.monotonic() - begun_s >= CALM_S, every_s=LOOK_EVERY_S)
        stage.report.say(f"{what}: before: {load.seen(begun_s, time.monotonic())}")
        done_s = time.monotonic()
        do(stage)
        eventually(stage.is_whole, 2 * PATIENCE_S, every_s=LOOK_EVERY_S)
        whole_s = time.monotonic()
        eventually(lambda: load.succeeded_since(whole_s) >= stage.clients)
        well_s = time.monotonic()
        seen = load.seen(done_s, well_s)
    said = f"{seen}; whole after {whole_s - done_s:.0f} s"
    lost = "request that had an answer" if may_fail else "request"
    if set(seen.failures) - {may_fail}:
        stage.report.fails(f"{what}: no {lost} is lost", said)
    else:
        stage.report.holds(f"{what}: no {lost} is lost", said)


def placed(stage: Stage) -> None:
    """Each deployment is on the node that has its resource."""
    where = {
        application: ", ".join(
            sorted(
                name
                for name, node in stage.cluster.nodes.items()
                if node.machine.address in stage.api.replicas()[application]
            )
        )
        for application in stage.homes
    }
    said = "; ".join(f"{application} on {names}" for application, names in where.items())
    (stage.report.holds if stage.is_whole() else stage.report.fails)(
        "each deployment lands on its own node", said
    )


def cut_for_a_moment(stage: Stage) -> None:
    """A stage's only node is cut off, for less time than Ray takes to give it up."""

    def do(stage: Stage) -> None:
        machine = stage.cluster.nodes["text-encoder"].machine
        machine.cut()
        cut_s = time.monotonic()
        eventually(lambda: time.monotonic() - cut_s >= SHORT_CUT_S, every_s=LOOK_EVERY_S)
        machine.rejoin()

    under_load(stage, f"the TextEncoder's node is cut off for {SHORT_CUT_S:.0f} s", do)


def cut_until_given_up(stage: Stage) -> None:
    """One of two denoisers' nodes is cut off until Ray has given it up, and comes back."""

    def do(stage: Stage) -> None:
        node = stage.cluster.nodes["denoiser-1"]
        cut_s = time.monotonic()
        node.machine.cut()
        eventually(
            lambda: stage.api.nodes().get(node.machine.address) == "DEAD", every_s=LOOK_EVERY_S
        )
        stage.report.say(f"Ray has given the node up after {time.monotonic() - cut_s:.0f} s")
        node.machine.rejoin()
        eventually(lambda: node.starts > 1, every_s=LOOK_EVERY_S)  # it hears of it, and ends

    under_load(stage, "one of two Denoisers' nodes is cut off until Ray gives it up", do)


def gateway_goes(stage: Stage) -> None:
    """A Gateway's pod is ended as Kubernetes ends it: its hook runs, and then it dies."""

    def do(stage: Stage) -> None:
        node = stage.cluster.nodes["gateway-2"]
        hook = ("-m", "leyden_server.controller.pod_stop", "--role", "gateway", "--within", "60")
        begun_s = time.monotonic()
        # As KubeRay sets it.
        where = {"RAY_ADDRESS": f"{stage.address('head')}:{GCS_PORT}"}
        said = node.run(sys.executable, *hook, environment=where)
        note = stage.report.fails if said else stage.report.holds
        note(
            "the hook of a Gateway's pod", said or f"ends after {time.monotonic() - begun_s:.0f} s"
        )
        node.kill()
        eventually(lambda: not stage.is_whole(), every_s=LOOK_EVERY_S)

    under_load(stage, "one of two Gateways' pods is ended, with its hook", do)


def gateway_dies(stage: Stage) -> None:
    """A Gateway's node loses its power, and comes back."""

    def do(stage: Stage) -> None:
        stage.cluster.nodes["gateway-1"].kill()
        eventually(lambda: not stage.is_whole(), every_s=LOOK_EVERY_S)

    under_load(stage, "one of two Gateways' nodes dies", do, may_fail=UNANSWERED)


def head_dies(stage: Stage) -> None:
    """The head loses its power, and another one takes its state from Redis."""

    def do(stage: Stage) -> None:
        stage.cluster.nodes["head"].kill()
        eventually(lambda: not stage.api.nodes(), every_s=LOOK_EVERY_S)

    under_load(stage, "the head dies", do)


def upgraded(stage: Stage) -> None:
    """Another config is deployed, which replaces the replicas of every application."""

    def do(stage: Stage) -> None:
        changed = copy.deepcopy(stage.config)
        for application in changed["applications"]:
            settings = application["args"]["config"]
            for section in settings.keys() & {"text_encoder", "denoiser", "vae"}:
                settings[section]["stall_timeout_s"] = 299
        before = stage.api.replica_ids()

        def is_replaced() -> bool:
            # Where the dashboard is silent there are none at all.
            now = stage.api.replica_ids()
            return bool(now) and not before & now

        stage.api.deploy(changed)
        eventually(is_replaced, 2 * PATIENCE_S, every_s=LOOK_EVERY_S)

    under_load(stage, "serve deploy of a changed config replaces every replica", do)


SCENES: dict[str, Callable[[Stage], None]] = {
    "placed": placed,
    "upgraded": upgraded,
    "moment": cut_for_a_moment,
    "cut": cut_until_given_up,
    "hook": gateway_goes,
    "gateway": gateway_dies,
    "head": head_dies,
}
"""By the names of --scenes, in their order."""
