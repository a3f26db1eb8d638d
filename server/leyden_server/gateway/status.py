"""The one table from our errors to the wire: a gRPC code and google.rpc details."""

import uuid
from dataclasses import dataclass, field

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from leyden_server.errors import (
    CancelledByRequestError,
    DeadlineExceededError,
    EventsExpiredError,
    GenerationNotFoundError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotLoadedError,
    ModelsManagedError,
    ModelVersionNotFoundError,
    NoRequestError,
    NoResourcesError,
    OutOfMemoryError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    ReaderTooSlowError,
    RegionExistsError,
    RegionInUseError,
    RegionNotFoundError,
    RequestIdInUseError,
    StageFailedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)

__all__ = ["DETAILS_KEY", "WireError", "WireStatus", "describe", "set_duration", "to_wire"]

DOMAIN = "leyden"
"""`ErrorInfo.domain` of every error."""

DETAILS_KEY = "grpc-status-details-bin"

PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Read by gRPC's own retries, where a client's service config switches them on; they know
nothing of RetryInfo, and would come back within milliseconds. Below 0: not to be tried again."""


@dataclass(frozen=True, slots=True)
class WireStatus:
    """How a call ends, as gRPC carries it: written here, or by another Gateway."""

    code: grpc.StatusCode
    message: str = ""
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class WireError:
    """What a client gets in place of the rest of a reply."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    details: tuple[Message, ...] = ()

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the details as gRPC carries them, and when its own retries may come back."""
        info = ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        status = Status(code=self.code.value[0], message=self.message)
        for detail in (info, *self.details):
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        trailing: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
        for detail in self.details:
            if isinstance(detail, RetryInfo):
                trailing.append((PUSHBACK_KEY, str(detail.retry_delay.ToMilliseconds())))
        if len(trailing) == 1 and self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            trailing.append((PUSHBACK_KEY, "-1"))
        return tuple(trailing)

    def status(self) -> WireStatus:
        """Return it as a call ends with it."""
        return WireStatus(self.code, self.message, self.trailing_metadata())


_PLAIN: dict[type[Exception], tuple[grpc.StatusCode, str]] = {
    DeadlineExceededError: (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    NoRequestError: (grpc.StatusCode.INVALID_ARGUMENT, "NO_REQUEST_MESSAGE"),
    UnsupportedError: (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED"),
    UnauthenticatedError: (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    CancelledByRequestError: (grpc.StatusCode.CANCELLED, "CANCELLED_BY_REQUEST"),
    # Without RetryInfo: the same request would fail again.
    OutOfMemoryError: (grpc.StatusCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY"),
    RegionInUseError: (grpc.StatusCode.FAILED_PRECONDITION, "REGION_IN_USE"),
    ModelsManagedError: (grpc.StatusCode.FAILED_PRECONDITION, "MANAGED_BY_SERVE_CONFIG"),
}
"""Errors that say all in their message."""

_NAMING: dict[type[Exception], tuple[grpc.StatusCode, str, tuple[str, ...]]] = {
    ModelVersionNotFoundError: (
        grpc.StatusCode.NOT_FOUND,
        "MODEL_VERSION_NOT_FOUND",
        ("model", "version"),
    ),
    ModelNotLoadedError: (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_NOT_LOADED",
        ("model", "missing"),
    ),
    RequestIdInUseError: (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_IN_USE", ("request_id",)),
    GenerationNotFoundError: (grpc.StatusCode.NOT_FOUND, "GENERATION_NOT_FOUND", ("request_id",)),
    EventsExpiredError: (grpc.StatusCode.OUT_OF_RANGE, "EVENTS_EXPIRED", ("request_id",)),
    RegionNotFoundError: (grpc.StatusCode.NOT_FOUND, "REGION_NOT_FOUND", ("region",)),
    RegionExistsError: (grpc.StatusCode.ALREADY_EXISTS, "REGION_EXISTS", ("region",)),
}
"""Errors whose metadata are attributes of theirs: these."""

_OF_A_LOAD: dict[type[Exception], tuple[grpc.StatusCode, str]] = {
    ModelLoadError: (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_LOAD_FAILED"),
    NoResourcesError: (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_RESOURCES"),
}
"""Errors of a model that was to be loaded."""

MAX_WHY_CHARS = 1000
"""Of why a load failed: it is sent twice, and gRPC clients refuse metadata over 8 KiB."""


def to_wire(error: Exception) -> WireError:
    """Map an error; whatever is not ours is INTERNAL, with an id and no internals."""
    code, text = grpc.StatusCode, str(error)
    match error:
        case InvalidRequestError():
            violations = [
                BadRequest.FieldViolation(field=v.field, description=v.description)
                for v in error.violations
            ]
            details = (BadRequest(field_violations=violations),)
            return WireError(code.INVALID_ARGUMENT, "INVALID_FIELD", text, details=details)
        case ModelNotFoundError():
            models = {"model": error.model, "models": ",".join(error.models)}
            return WireError(code.NOT_FOUND, "MODEL_NOT_FOUND", text, models)
        case PermissionDeniedError():
            return WireError(code.PERMISSION_DENIED, error.reason, text, error.metadata)
        case ModelLoadError() | NoResourcesError():
            # Without RetryInfo: somebody has to mend something, or to make room.
            why = {"model": error.model, "why": error.why[:MAX_WHY_CHARS]}
            return WireError(*_OF_A_LOAD[type(error)], text[:MAX_WHY_CHARS], why)
        case OverloadedError() | QuotaExceededError():
            retry = () if error.retry_after_s is None else (_retry(error.retry_after_s),)
            return WireError(code.RESOURCE_EXHAUSTED, error.reason, text, error.limits, retry)
        case ReaderTooSlowError():
            return WireError(code.RESOURCE_EXHAUSTED, "READER_TOO_SLOW", text, error.limits)
        case UnavailableError():
            later = (_retry(error.retry_after_s),)
            return WireError(code.UNAVAILABLE, error.reason, text, details=later)
        case StageFailedError():
            return _internal(error.error_id)  # the stage's own log has it by that id
        case _ if type(error) in _PLAIN:
            return WireError(*_PLAIN[type(error)], text)
        case _ if type(error) in _NAMING:
            named, reason, names = _NAMING[type(error)]
            return WireError(named, reason, text, {name: getattr(error, name) for name in names})
        case _:
            return _internal(str(uuid.uuid4()))


def _internal(error_id: str) -> WireError:
    message = f"an internal error; the server's log has it as {error_id}"
    return WireError(grpc.StatusCode.INTERNAL, "INTERNAL", message, {"error_id": error_id})


def describe(error: Exception) -> tuple[str, str, str]:
    """Return code, reason and message of an error, as the request log has them."""
    wire = to_wire(error)
    return wire.code.name, wire.reason, wire.message


def set_duration(duration: Duration, seconds: float) -> None:
    """Set a message's Duration; a clock's tiny negative is zero, which is set too, not absent."""
    duration.seconds, duration.nanos = divmod(max(0, round(seconds * 1e9)), 1_000_000_000)


def _retry(seconds: float) -> RetryInfo:
    retry = RetryInfo()
    set_duration(retry.retry_delay, seconds)
    return retry
