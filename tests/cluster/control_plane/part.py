"""A real control plane on loopback: what Kubernetes and the KubeRay operator make of the chart."""

import argparse
import os
import shutil

from cluster.part import Part
from cluster.report import Report

__all__ = ["PART"]

SUMMARY = (
    "etcd, kube-apiserver, scheduler, controllers, the KubeRay operator and kwok, on loopback, "
    "and the chart in them"
)
VALUES = ("dev", "single-gpu", "production")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--values",
        nargs="+",
        choices=VALUES,
        default=list(VALUES),
        metavar="NAME",
        help=f"which of k8s/manifests/ to install, of {', '.join(VALUES)} (default: all)",
    )
    parser.add_argument(
        "--pods",
        choices=("ray", "stand-in", "none"),
        default="ray",
        help="what runs in the pods of dev, as root: Ray, as the operator says; Leyden in one "
        "process and Ray's dashboard in outline; or nothing, so that no upgrade is made "
        "(default: ray)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="compilations at a time (default: 2)")
    parser.add_argument("--build-only", action="store_true", help="build the programs, and end")
    parser.add_argument("--keep-logs", metavar="FOLDER", help="leave all logs in a folder")


def _missing() -> str:
    if shutil.which("go") is None:
        return "Go 1.26 or newer is not here: it builds the control plane (https://go.dev/dl)"
    return ""


def _run(options: argparse.Namespace, report: Report) -> None:
    from cluster.control_plane.scenario import run

    why = ""
    if options.pods == "none":
        why = "--pods none"
    elif os.geteuid() != 0:
        why = "network namespaces for the pods need root"
    elif shutil.which("ip") is None:
        why = "network namespaces for the pods need `ip`: apt-get install iproute2"
    run(options, report, why_none_runs=why)


PART = Part(summary=SUMMARY, run=_run, missing=_missing, add_options=_add_options)
