"""What can go wrong.

    LeydenError
    ├── ProtocolError                the stream broke the API's contract
    └── RpcError                     the call ended with a status other than OK
        ├── InvalidArgumentError     a field is wrong; `violations` says which
        ├── NotFoundError            no such model
        │   └── GenerationNotFoundError  no such generation runs or is kept
        ├── EventsExpiredError       the events to watch are no longer kept
        ├── FailedPreconditionError  the model is known but not loaded
        │   ├── ModelLoadError       it cannot be loaded; the message says what and where
        │   └── ModelsManagedError   others decide which models run
        ├── AlreadyExistsError       the request_id belongs to another generation
        ├── OverloadedError          the queue is full, or the key's limit; `retry_after_s`
        ├── NoResourcesError         no replica of the model's stages can be placed
        ├── OutOfMemoryError         the server's device has not enough for this image
        ├── ReaderTooSlowError       this client has stopped reading
        ├── MessageTooLargeError     a message is over gRPC's size limit
        ├── UnavailableError         not reachable, loading or draining; `retry_after_s`
        ├── UnauthenticatedError     no or wrong credentials
        ├── PermissionDeniedError    not allowed
        ├── DeadlineExceededError    the timeout passed
        ├── GenerationCancelledError ended by `cancel` or the server, or the client was closed
        └── InternalError            a defect of the server; `error_id` is in its log

A status that is not in the tree is a plain `RpcError`, with its `code`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


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
        code: "grpc.StatusCode",
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


class GenerationNotFoundError(NotFoundError):
    """No such generation runs, or is kept any more."""


class EventsExpiredError(RpcError):
    """The generation is known, but the events that were asked for are no longer kept."""


class FailedPreconditionError(RpcError):
    """The model is known but not loaded."""


class ModelLoadError(FailedPreconditionError):
    """The model cannot be loaded: something of its files is missing or wrong, or does not fit."""


class ModelsManagedError(FailedPreconditionError):
    """The server's applications stand in a Serve config, whose owner decides what is loaded."""


class AlreadyExistsError(RpcError):
    """The request_id belongs to another generation, which runs or is kept."""


class OverloadedError(RpcError):
    """The queue is full, the deadline cannot be met, or a limit of the API key is reached."""


class NoResourcesError(RpcError):
    """No replica of the model's stages can be placed; the message says what is lacking."""


class OutOfMemoryError(RpcError):
    """The server's device has not enough memory; a smaller size or fewer images are the remedy."""


class ReaderTooSlowError(RpcError):
    """The server ended the stream because this client has stopped reading it."""


class MessageTooLargeError(RpcError):
    """A message is over a size limit of gRPC, which this client or the server has set."""


class UnavailableError(RpcError):
    """The server cannot be reached, is loading or draining, or lost a stage."""


class UnauthenticatedError(RpcError):
    """There are no credentials, or they are wrong."""


class PermissionDeniedError(RpcError):
    """The credentials do not allow this."""


class DeadlineExceededError(RpcError):
    """The timeout passed."""


class GenerationCancelledError(RpcError):
    """`cancel` or the server ended the generation, or the client was closed while it ran."""


class InternalError(RpcError):
    """A defect of the server."""

    @property
    def error_id(self) -> str:
        """Id under which the server logged the defect; empty if it gave none."""
        return self.metadata.get("error_id", "")
