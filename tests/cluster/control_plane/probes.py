"""A pod's probes, asked as a kubelet asks them."""

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["Probe", "passes"]

Probe = dict[str, Any]


def passes(probe: Probe | None, address: str, execute: Callable[[list[str]], bool]) -> bool:
    """Return whether a probe passes; no probe always does."""
    if probe is None:
        return True
    timeout_s = float(probe.get("timeoutSeconds", 1))
    if "grpc" in probe:
        return _grpc(address, probe["grpc"], timeout_s)
    if "httpGet" in probe:
        return _http(address, probe["httpGet"], timeout_s)
    if "exec" in probe:
        return execute(probe["exec"]["command"])
    raise NotImplementedError(f"a probe of a kind not met before: {probe}")


def _grpc(address: str, asked: Probe, timeout_s: float) -> bool:
    with grpc.insecure_channel(f"{address}:{asked['port']}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=asked.get("service", ""))
        try:
            answer = stub.Check(request, timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _http(address: str, asked: Probe, timeout_s: float) -> bool:
    url = f"http://{address}:{asked['port']}{asked.get('path', '/')}"
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return bool(answer.status < 400)
    except (urllib.error.URLError, OSError):
        return False
