"""The production Serve config on a Ray of several machines, with faults under load."""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.part import Part
from cluster.report import Report

__all__ = ["PART"]

REDIS_PORT = 6380

TOOLS = ("ip", "unshare", "nsenter", "redis-server")

WORKERS = {
    "gateway-1": "gateway",
    "gateway-2": "gateway",
    "text-encoder": "text-encoder",
    "denoiser-1": "denoiser",
    "denoiser-2": "denoiser",
    "vae": "vae",
}
"""Machines beside the head, and the worker group that each is of."""

STAGES = {"text_encoder": 1, "denoiser": 2, "vae": 1, "gateway": 2}

DRAIN_TIMEOUT_S = 30.0


def _missing() -> str:
    if os.geteuid() != 0:
        return "network namespaces need root"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"it needs {', '.join(lacking)} (Debian: iproute2, redis-server)" if lacking else ""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=int, default=6, help="under load (default: %(default)s)")
    parser.add_argument(
        "--logs", type=Path, metavar="DIR", help="a folder that all nodes' logs are copied to"
    )
    parser.add_argument(
        "--scenes", default="", help="some scenes, by commas (default: all, in their order)"
    )


@contextmanager
def _redis(address: str, folder: Path) -> Iterator[str]:
    """Run a Redis that forgets everything at its end."""
    command = ["redis-server", "--bind", address, "--port", str(REDIS_PORT), "--save", ""]
    process = subprocess.Popen(
        [*command, "--protected-mode", "no", "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        yield f"{address}:{REDIS_PORT}"
    finally:
        process.terminate()
        process.wait()


def _run(options: argparse.Namespace, report: Report) -> None:
    from cluster.nodes.network import Network
    from cluster.nodes.production import GROUPS, serve_config_of
    from cluster.nodes.ray_nodes import Cluster
    from cluster.nodes.scenes import SCENES, Stage
    from cluster.nodes.serve_api import ServeApi
    from support.patience import PATIENCE_S
    from support.running_server import eventually

    from leyden_server.controller.serve_schema import faults_of

    chosen = [name for name in options.scenes.split(",") if name] or list(SCENES)
    unknown = set(chosen) - set(SCENES)
    if unknown:
        report.fails("--scenes", f"no {', '.join(unknown)}; there are {', '.join(SCENES)}")
        return
    config = serve_config_of(STAGES, DRAIN_TIMEOUT_S)
    faults = faults_of(config)
    if faults:
        report.fails("the production Serve config has no fault", "; ".join(faults))
        return
    with (
        tempfile.TemporaryDirectory(prefix="leyden-nodes-", dir="/var/tmp") as temporary,
        Network() as network,
        _redis(network.here, Path(temporary)) as redis,
        Cluster(network, Path(temporary), redis) as cluster,
    ):
        report.say("starting the head and six nodes")
        cluster.add_head()
        for name, group in WORKERS.items():
            cluster.add_worker(name, GROUPS[group], num_gpus=int(group != "gateway"))
        api = ServeApi(cluster, Path(temporary))
        eventually(
            lambda: list(api.nodes().values()) == ["ALIVE"] * (1 + len(WORKERS)), every_s=0.5
        )
        report.say("serve deploy")
        api.deploy(config)
        homes = {
            application["name"]: tuple(
                name
                for name, group in WORKERS.items()
                if group == application["args"]["stage"].replace("_", "-")
            )
            for application in config["applications"]
        }
        stage = Stage(cluster, api, config, homes, report, options.clients)
        try:
            eventually(stage.is_whole, 2 * PATIENCE_S, every_s=0.5)
        except AssertionError:
            report.fails("the server starts", api.messages())
            return
        try:
            for name in chosen:
                SCENES[name](stage)
        finally:
            if options.logs is not None:
                for logs in Path(temporary).glob("*/tmp-*/ray/session_2*/logs"):
                    node, start = logs.parts[-5:-3]
                    shutil.copytree(logs, options.logs / node / start, dirs_exist_ok=True)


PART = Part(
    summary="the production Serve config on a Ray of seven network namespaces; needs root",
    run=_run,
    missing=_missing,
    add_options=_add_options,
)
