"""Rules and dashboard before a real Prometheus, which scrapes real servers under load."""

import argparse
import shutil
import tempfile
from pathlib import Path

from cluster.part import Part
from cluster.report import Report

__all__ = ["PART"]

PROGRAMS = ("prometheus", "promtool")


def missing() -> str:
    """Say which program is not there."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} on the PATH (Debian: prometheus)" if absent else ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what may be left out."""
    parser.add_argument("--without-ray", action="store_true", help="leave out the server with Ray")
    parser.add_argument(
        "--keep",
        metavar="DIR",
        type=Path,
        help="keep logs and what Prometheus stored in this folder",
    )


def run(options: argparse.Namespace, report: Report) -> None:
    """Unit tests of the rules; then the servers, one after the other."""
    from checks.monitoring import RULES
    from cluster.monitoring.prometheus import prometheus
    from cluster.monitoring.promtool import check_rules
    from cluster.monitoring.scenes import in_one_process, over_ray

    with tempfile.TemporaryDirectory(prefix="leyden-monitoring-") as made:
        folder = Path(made)
        if options.keep is not None:
            folder = options.keep.resolve()
            folder.mkdir(parents=True, exist_ok=True)
        check_rules(folder, report)
        # A Prometheus each: what one has seen go wrong is in its error budget for days.
        for scene in (in_one_process, over_ray):
            if scene is over_ray and options.without_ray:
                report.skips("a server with Ray", "--without-ray")
                continue
            own = folder / scene.__name__
            own.mkdir(exist_ok=True)
            with prometheus(RULES, own) as server:
                scene(server, own, report)


PART = Part(
    summary="rules and dashboard, evaluated by a Prometheus that scrapes servers under load",
    run=run,
    missing=missing,
    add_options=add_options,
)
