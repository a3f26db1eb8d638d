"""From the one table of errors to what OpenAI's clients read."""

import math
from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo

from leyden_server.errors import InvalidRequestError, ModelNotFoundError, ModelNotLoadedError
from leyden_server.gateway.status import WireError, to_wire

__all__ = ["error_body", "error_headers", "http_status"]

Code = grpc.StatusCode

STATUSES: Mapping[grpc.StatusCode, int] = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}

REASONS = {"UNAUTHENTICATED": "invalid_api_key"}
"""Where OpenAI has a word of its own for a reason of ours."""


def http_status(error: Exception) -> int:
    """Return the status of a response that is an error."""
    wire = to_wire(error)
    if wire.code is Code.RESOURCE_EXHAUSTED and _retry_after_s(wire) is None:
        return 400  # the same request would fail again, and clients send a 429 again
    return STATUSES[wire.code]


def error_headers(error: Exception) -> dict[str, str]:
    """Return what tells a client whether to come back, and when."""
    retry_after_s = _retry_after_s(to_wire(error))
    if retry_after_s is None:
        return {"x-should-retry": "false"}
    return {
        "retry-after": str(math.ceil(retry_after_s)),
        "retry-after-ms": str(math.ceil(retry_after_s * 1000)),
    }


def error_body(error: Exception) -> dict[str, Any]:
    """Return the object that has the error under `error`, in a response or in a stream."""
    wire, status = to_wire(error), http_status(error)
    kind = "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    elif status >= 500:
        kind = "server_error"
    return {
        "error": {
            "message": wire.message,
            "type": kind,
            "param": _param(error),
            "code": REASONS.get(wire.reason, wire.reason.lower()),
        }
    }


def _param(error: Exception) -> str | None:
    if isinstance(error, InvalidRequestError):
        return error.violations[0].field or None
    return "model" if isinstance(error, ModelNotFoundError | ModelNotLoadedError) else None


def _retry_after_s(wire: WireError) -> float | None:
    for detail in wire.details:
        if isinstance(detail, RetryInfo):
            return float(detail.retry_delay.ToMilliseconds()) / 1000
    return None
