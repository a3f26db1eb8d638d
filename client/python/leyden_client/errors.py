"""What can go wrong.

    LeydenError
    ├── ProtocolError                the stream broke the API's contract
    └── RpcError                     the call ended with a status other than OK
        ├── InvalidArgumentError     a field is wrong; `violations` says which
        ├── NotFoundError            no such model
        ├── FailedPreconditionError  the model is known but not loaded
        ├── AlreadyExistsError       the request_id belongs to a generation that runs
        ├── OverloadedError          the queue is full; `retry_after_s`
        ├── UnavailableError         not reachable, loading or draining; `retry_after_s`
        ├── UnauthenticatedError     no or wrong credentials
        ├── PermissionDeniedError    not allowed
        ├── DeadlineExceededError    the timeout passed
        ├── GenerationCancelledError ended by the server, or the client was closed
        └── InternalError            a defect of the server; `error_id` is in its log

A status that is not in the tree is a plain `RpcError`, with its `code`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from leyden_client._wire import seconds


class LeydenError(Exception):
    """Base of everything that this package raises on its own account."""


class ProtocolError(LeydenError):
    """The stream broke the API's contract: a gap, a wrong size, no summary at its end."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that is wrong."""

    field: str
    """Name of the field, as in the API."""
    description: str
    """What is wrong with it, and what is allowed."""


class RpcError(LeydenError):
    """The call ended with a status other than OK."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        """What went wrong, in words."""
        self.code = code
        """The gRPC status code."""
        self.reason = reason
        """Why, in UPPER_SNAKE_CASE. Empty where no Leyden server answered."""
        self.metadata: Mapping[str, str] = metadata or {}
        """More on the reason."""
        self.violations = violations
        """The fields that are wrong; empty unless the code is INVALID_ARGUMENT."""
        self.retry_after_s = retry_after_s
        """When a later try can succeed, in seconds. None: the server did not say."""

    def __str__(self) -> str:
        # A server may have put them into its message already.
        unsaid = [v for v in self.violations if v.description not in self.message]
        return "\n".join([self.message, *(f"  {v.field}: {v.description}" for v in unsaid)])


class InvalidArgumentError(RpcError):
    """A field of the request is wrong."""


class NotFoundError(RpcError):
    """There is no such model."""


class FailedPreconditionError(RpcError):
    """The model is known but not loaded."""


class AlreadyExistsError(RpcError):
    """The request_id belongs to a generation that is running."""


class OverloadedError(RpcError):
    """The queue is full, or the deadline cannot be met."""


class UnavailableError(RpcError):
    """The server cannot be reached, is loading or draining, or lost a stage."""


class UnauthenticatedError(RpcError):
    """There are no credentials, or they are wrong."""


class PermissionDeniedError(RpcError):
    """The credentials do not allow this."""


class DeadlineExceededError(RpcError):
    """The timeout passed."""


class GenerationCancelledError(RpcError):
    """The server ended the call, or the client was closed while the call ran."""


class InternalError(RpcError):
    """A defect of the server."""

    @property
    def error_id(self) -> str:
        """Id under which the server logged the defect; empty if it gave none."""
        return self.metadata.get("error_id", "")


def closed_while_running() -> GenerationCancelledError:
    """Return the error of a call that was running when its client was closed."""
    return GenerationCancelledError(
        "the client was closed while the call ran", code=grpc.StatusCode.CANCELLED
    )


_DETAILS_KEY = "grpc-status-details-bin"

_CLASS_OF_CODE: Mapping[grpc.StatusCode, type[RpcError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: GenerationCancelledError,
    grpc.StatusCode.INTERNAL: InternalError,
}


def error_of_call(call: grpc.aio.AioRpcError) -> RpcError:
    """Return the typed error for a call that ended with a status other than OK."""
    code = call.code()
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in _status(call).details:
        for wanted in (info, request, retry):
            if detail.Is(wanted.DESCRIPTOR):
                detail.Unpack(wanted)
    return _CLASS_OF_CODE.get(code, RpcError)(
        call.details() or code.name,
        code=code,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=tuple(
            FieldViolation(violation.field, violation.description)
            for violation in request.field_violations
        ),
        retry_after_s=seconds(retry.retry_delay) if retry.HasField("retry_delay") else None,
    )


def _status(call: grpc.aio.AioRpcError) -> status_pb2.Status:
    # Not `grpc_status.rpc_status`: it raises where the two copies of the code or
    # message differ, and a proxy that reworded one must not hide the error.
    trailing = cast("grpc.aio.Metadata", call.trailing_metadata())
    try:
        return status_pb2.Status.FromString(trailing.get(_DETAILS_KEY, b""))
    except DecodeError:
        # Details that cannot be read leave what the code and message say.
        return status_pb2.Status()
