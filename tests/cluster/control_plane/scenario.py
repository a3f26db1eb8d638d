"""The order of it all: build, start, furnish, then one file of values after the other."""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.control_plane.builds import PROGRAMS, build, kubectl
from cluster.control_plane.client import Client
from cluster.control_plane.cluster import REAL_NODE, REAL_PODS, furnish, set_aside
from cluster.control_plane.daemons import Daemons
from cluster.control_plane.drains import check_drain
from cluster.control_plane.installs import check_install, check_refusals, check_uninstall
from cluster.control_plane.kubelet import Kubelet
from cluster.control_plane.plane import Plane
from cluster.control_plane.runbook import check_runbook
from cluster.control_plane.stand_in import without_ray
from cluster.control_plane.upgrades import check_upgrade
from cluster.control_plane.world import Release, World
from cluster.report import Report
from support.charts.helm import find_helm

__all__ = ["run"]


def run(options: argparse.Namespace, report: Report, *, why_none_runs: str) -> None:
    """Do all of it."""
    build(report, options.jobs)
    versions = ", ".join(f"{p.name} {p.version()}" for p in PROGRAMS.values())
    report.holds("the programs are built from their Go modules", versions)
    if options.build_only:
        return
    with _world(report, options.keep_logs) as world:
        report.holds("a cluster stands on loopback", _inventory(world))
        for values in options.values:
            _check(world, Release(world, values), options.pods, why_none_runs)
        if "production" in options.values:
            with set_aside(world.client, kwok=False):
                check_runbook(world)


def _check(world: World, release: Release, pods: str, why_none_runs: str) -> None:
    they_run = release.values == "dev" and not why_none_runs
    with set_aside(world.client, kwok=they_run), _running(world, pods if they_run else "none"):
        check_install(world, release)
        if release.values == "dev":
            check_refusals(world, release)
        if they_run:
            check_upgrade(world, release)
        elif release.values == "dev":
            world.report.skips("the upgrade, with pods that run", why_none_runs)
        if release.values == "production":
            check_drain(world, release)
        check_uninstall(world, release)


@contextmanager
def _world(report: Report, keep_logs: str | None) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="leyden-control-plane-"))
    logs = Path(keep_logs) if keep_logs else folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    daemons = Daemons(logs)
    try:
        plane = Plane(folder, daemons)
        plane.start(report)
        client = Client(kubectl(), plane.kubeconfig)
        furnish(plane, client, daemons, folder, report)
        yield World(plane, client, daemons, report, find_helm(), folder)
    finally:
        report.say("ending all that was started")
        daemons.end()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(world: World, pods: str) -> Iterator[None]:
    """Have the pods of one node run for real, within."""
    if pods == "none":
        yield
        return
    change = (without_ray,) if pods == "stand-in" else ()
    kubelet = Kubelet(world.client, REAL_NODE, REAL_PODS, world.daemons.logs / "pods", *change)
    with world.daemons.also(kubelet):
        yield


def _inventory(world: World) -> str:
    nodes = len(world.client.list("nodes"))
    kinds = len(world.client.list("customresourcedefinitions"))
    return f"{nodes} nodes, {kinds} kinds of others, {world.plane.server}"
