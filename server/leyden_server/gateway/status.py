"""The one table from our errors to the wire: a gRPC code and google.rpc details."""

import uuid
from dataclasses import dataclass, field

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from leyden_server.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    ModelNotLoadedError,
    OverloadedError,
    RequestIdInUseError,
    UnavailableError,
)
from leyden_server.gateway.events import duration

__all__ = ["WireError", "to_wire"]

DOMAIN = "leyden"
"""`ErrorInfo.domain` of every error."""

DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class WireError:
    """What a client gets in place of the rest of a reply."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    details: tuple[Message, ...] = ()

    def trailing_metadata(self) -> tuple[tuple[str, bytes]]:
        """Return the details as gRPC carries them."""
        info = ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        status = Status(code=self.code.value[0], message=self.message)
        for detail in (info, *self.details):
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        return ((DETAILS_KEY, status.SerializeToString()),)


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
        case ModelNotLoadedError():
            missing = {"model": error.model, "missing": error.missing}
            return WireError(code.FAILED_PRECONDITION, "MODEL_NOT_LOADED", text, missing)
        case RequestIdInUseError():
            request_id = {"request_id": error.request_id}
            return WireError(code.ALREADY_EXISTS, "REQUEST_ID_IN_USE", text, request_id)
        case OverloadedError():
            retry = (_retry(error.retry_after_s),)
            return WireError(code.RESOURCE_EXHAUSTED, error.reason, text, error.limits, retry)
        case DeadlineExceededError():
            return WireError(code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", text)
        case UnavailableError():
            retry = (_retry(error.retry_after_s),)
            return WireError(code.UNAVAILABLE, error.reason, text, details=retry)
        case _:
            error_id = str(uuid.uuid4())
            message = f"an internal error; the server's log has it as {error_id}"
            return WireError(code.INTERNAL, "INTERNAL", message, {"error_id": error_id})


def _retry(seconds: float) -> RetryInfo:
    return RetryInfo(retry_delay=duration(seconds))
