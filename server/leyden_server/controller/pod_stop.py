"""Holds a pod of Kubernetes until what it serves has ended: the hook before its end (preStop).

Kubernetes ends a pod with a signal, on which Ray ends its workers at once. So before it

- the pod of a Gateway has its Ray node drained. Serve then stops the Gateway as it does any that
  is to go: health says NOT_SERVING, clients are told to go elsewhere, what runs ends;
- the head and the pods of stages live on while a Gateway does, since its generations need them: an
  upgrade by KubeRay ends all pods of the old cluster in the same moment. A stage's pod that goes
  alone serves on for as long as it may, and what is left is run again elsewhere (`stage_retries`);
- a pod that has both lives on while its page of metrics says that images wait or run: draining it
  would take the Gateway's stages away before its generations end.

The hook ends once that is so, or when its time is up. Where the head is gone it ends at once.
"""

import argparse
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Literal, get_args

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # its stubs lack it
from ray.core.generated import autoscaler_pb2
from ray.exceptions import RayError
from ray.util.state import list_actors
from ray.util.state.exception import RayStateApiException

from leyden_server.controller.names import Names

__all__ = ["main"]

Role = Literal["gateway", "stage", "both", "head"]

POLL_S = 0.5
PAGE = "http://127.0.0.1:8002/metrics"
PAGE_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 5.0
IMAGES = ("leyden_images_waiting{", "leyden_images_running{")
MOST_ACTORS = 10_000
GONE = (RayError, RayStateApiException, OSError, RuntimeError, ValueError)
"""What Ray 2.60 raises where it is not there, or ends meanwhile."""

REPLICA = "ServeReplica:"
"""What the class names of Serve's replicas begin with; the application and deployment follow."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m leyden_server.controller.pod_stop")
    parser.add_argument("--role", choices=get_args(Role), required=True)
    parser.add_argument("--instance", default="leyden", help="ray.instance of the server")
    parser.add_argument("--within", type=int, required=True, help="seconds that it may take")
    parser.add_argument("--page", default=PAGE, help="of metrics, for the role `both`")
    args = parser.parse_args(argv)
    # Ray's own calls wait for a head that is gone; the alarm ends the process whatever it is in.
    signal.alarm(args.within)
    if args.role == "both":
        while _has_images(args.page):
            time.sleep(POLL_S)
        return 0
    address = os.environ.get("RAY_ADDRESS", "127.0.0.1:6379")
    try:
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        node = ray.get_runtime_context().get_node_id()
        if args.role == "gateway":
            _drain(node, args.within)
        while _is_needed(args.role, args.instance, node):
            time.sleep(POLL_S)
    except GONE as error:
        print(f"nothing to wait for: {type(error).__name__}: {error}", file=sys.stderr)
    return 0


def _drain(node: str, within_s: int) -> None:
    """Let nothing new be placed on this node, and have Serve stop what is on it."""
    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    accepted, why = client.drain_node(
        node,
        autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION,
        "the pod is to end",
        int((time.time() + within_s) * 1000),
    )
    if not accepted:
        print(f"Ray does not drain the node: {why}", file=sys.stderr)


def _has_images(page: str) -> bool:
    """Tell whether this pod's Gateway has images that wait or run."""
    try:
        with urllib.request.urlopen(page, timeout=PAGE_TIMEOUT_S) as answer:
            text = answer.read().decode()
    except OSError:
        return False
    counts = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(IMAGES)]
    return any(float(count) > 0 for count in counts)


def _is_needed(role: Role, instance: str, node: str) -> bool:
    replicas = [
        actor
        for actor in list_actors(filters=[("state", "=", "ALIVE")], limit=MOST_ACTORS)
        if actor.class_name.startswith(REPLICA)
    ]
    of_gateways = f"{REPLICA}{Names(instance).gateway}:"
    gateways = [actor for actor in replicas if actor.class_name.startswith(of_gateways)]
    if role == "gateway":
        return any(actor.node_id == node for actor in gateways)
    serves = role == "head" or any(actor.node_id == node for actor in replicas)
    return serves and bool(gateways)


if __name__ == "__main__":
    sys.exit(main())
