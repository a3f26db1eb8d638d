"""From the status of a call to the error that it is."""

import re
from collections.abc import Mapping
from typing import cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from leyden_client import errors
from leyden_client._wire import seconds

_DETAILS_KEY = "grpc-status-details-bin"

_CLASS_OF_CODE: Mapping[grpc.StatusCode, type[errors.RpcError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.OUT_OF_RANGE: errors.EventsExpiredError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPreconditionError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.CANCELLED: errors.GenerationCancelledError,
    grpc.StatusCode.INTERNAL: errors.InternalError,
}

# Where one code has several meanings, the reason tells them apart.
_CLASS_OF_REASON: Mapping[str, type[errors.RpcError]] = {
    "GENERATION_NOT_FOUND": errors.GenerationNotFoundError,
    "MANAGED_BY_SERVE_CONFIG": errors.ModelsManagedError,
    "MODEL_LOAD_FAILED": errors.ModelLoadError,
    "NO_RESOURCES": errors.NoResourcesError,
    "OUT_OF_MEMORY": errors.OutOfMemoryError,
    "READER_TOO_SLOW": errors.ReaderTooSlowError,
}

# What gRPC says of a message over its limit, in C, Python, Go and Java; the code alone is a
# proxy's overload too.
_OVER_THE_LIMIT = re.compile(r"larger than max|exceeds maximum size", re.IGNORECASE)


def error_of_call(call: grpc.aio.AioRpcError) -> errors.RpcError:
    """Return the typed error for a call that ended with a status other than OK."""
    code = call.code()
    message = call.details() or code.name
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in _status(call).details:
        for wanted in (info, request, retry):
            if detail.Is(wanted.DESCRIPTOR):
                detail.Unpack(wanted)
    return _class(code, info.reason, message)(
        message,
        code=code,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(
            errors.FieldViolation(violation.field, violation.description)
            for violation in request.field_violations
        ),
        retry_after_s=seconds(retry.retry_delay) if retry.HasField("retry_delay") else None,
    )


def closed_while_running() -> errors.GenerationCancelledError:
    """Return the error of a call that was running when its client was closed."""
    return errors.GenerationCancelledError(
        "the client was closed while the call ran", code=grpc.StatusCode.CANCELLED
    )


def timed_out(timeout_s: float) -> errors.DeadlineExceededError:
    """Return the error of a deadline that this client set, and that passed."""
    return errors.DeadlineExceededError(
        f"the timeout of {timeout_s:g} s passed", code=grpc.StatusCode.DEADLINE_EXCEEDED
    )


def _class(code: grpc.StatusCode, reason: str, message: str) -> type[errors.RpcError]:
    if (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED
        and not reason
        and _OVER_THE_LIMIT.search(message)
    ):
        return errors.MessageTooLargeError
    return _CLASS_OF_REASON.get(reason) or _CLASS_OF_CODE.get(code, errors.RpcError)


def _status(call: grpc.aio.AioRpcError) -> status_pb2.Status:
    # Not `grpc_status.rpc_status`: it raises where the two copies of the code or
    # message differ, and a proxy that reworded one must not hide the error.
    trailing = cast("grpc.aio.Metadata", call.trailing_metadata())
    try:
        return status_pb2.Status.FromString(trailing.get(_DETAILS_KEY, b""))
    except DecodeError:
        # Details that cannot be read leave what the code and message say.
        return status_pb2.Status()
