"""Every error that Leyden raises on purpose.

    LeydenError
    ├── StartupError               before the server runs; the CLI prints it and exits
    │   ├── ConfigError            a setting is wrong
    │   ├── ModelRepositoryError   a model entry is wrong
    │   │   └── HubError           the hub did not give what a model needs
    │   └── AddressInUseError      another process listens there
    └── RequestError               ends one request; `gateway.status` maps it to the wire
        ├── InvalidRequestError    fields are wrong
        ├── NoRequestError         the call carried no whole message
        ├── ModelNotFoundError     no such model
        ├── ModelVersionNotFoundError  of this model there is no such version
        ├── ModelNotLoadedError    listed, but not loaded
        ├── ModelLoadError         it cannot be loaded: what is wrong, and where
        ├── NoResourcesError       a stage of it cannot be placed
        ├── ModelsManagedError     others decide which models run
        ├── RequestIdInUseError    the request_id belongs to another generation
        ├── GenerationNotFoundError  nobody knows such a generation (any more)
        ├── EventsExpiredError     its events are no longer kept
        ├── RegionNotFoundError    no shared memory region of this name
        ├── RegionExistsError      the name belongs to another shared memory region
        ├── RegionInUseError       a request uses the shared memory region
        ├── UnauthenticatedError   no API key, or a wrong one
        ├── PermissionDeniedError  the caller's key does not allow it
        ├── QuotaExceededError     the caller's key allows no more of it now
        ├── OverloadedError        no room to wait, or no hope of being in time
        ├── OutOfMemoryError       the device has not enough for this image
        ├── ReaderTooSlowError     the client has stopped reading
        ├── DeadlineExceededError  the client's deadline passed
        ├── CancelledByRequestError  CancelGeneration ended it
        ├── UnsupportedError       a method, or a part of one, that this server has not
        ├── UnavailableError       loading, draining, or a stage died
        └── StageFailedError       a defect in a stage; its log has it by an id

Request errors cross process borders inside pickles, so each keeps all that it
carries in `args`.
"""

from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AddressInUseError",
    "CancelledByRequestError",
    "ConfigError",
    "DeadlineExceededError",
    "EventsExpiredError",
    "FieldViolation",
    "GenerationNotFoundError",
    "HubError",
    "InvalidRequestError",
    "LeydenError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelNotLoadedError",
    "ModelRepositoryError",
    "ModelVersionNotFoundError",
    "ModelsManagedError",
    "NoRequestError",
    "NoResourcesError",
    "OutOfMemoryError",
    "OverloadedError",
    "PermissionDeniedError",
    "QuotaExceededError",
    "ReaderTooSlowError",
    "RegionExistsError",
    "RegionInUseError",
    "RegionNotFoundError",
    "RequestError",
    "RequestIdInUseError",
    "StageFailedError",
    "StartupError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
]


class LeydenError(Exception):
    """Base of every error that Leyden raises on purpose."""


class StartupError(LeydenError):
    """The server cannot start; the message says why and what to do."""


class ConfigError(StartupError):
    """A setting is wrong."""


class ModelRepositoryError(StartupError):
    """A model entry is wrong or incomplete."""


class HubError(ModelRepositoryError):
    """The hub cannot be reached, refuses, or has not what a model needs."""


class AddressInUseError(StartupError):
    """Another process listens on the address."""


class RequestError(LeydenError):
    """Ends one request."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its proto name and what it allows."""

    field: str
    description: str


class InvalidRequestError(RequestError):
    """One or more fields are wrong."""

    def __init__(self, violations: tuple[FieldViolation, ...]) -> None:
        super().__init__(violations)
        self.violations = violations

    def __str__(self) -> str:
        return "; ".join(f"{v.field}: {v.description}" for v in self.violations)


class NoRequestError(RequestError):
    """A call of a method that takes one message ended before a whole one had come."""

    def __str__(self) -> str:
        return "the call ended without a whole request message; the method takes exactly one"


class ModelNotFoundError(RequestError):
    """There is no model of this name."""

    def __init__(self, model: str, models: tuple[str, ...]) -> None:
        super().__init__(model, models)
        self.model = model
        self.models = models

    def __str__(self) -> str:
        return f"no model {self.model!r}; the models are {', '.join(self.models)}"


class ModelVersionNotFoundError(RequestError):
    """A model has no such version, in a protocol that numbers them."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(model, version)
        self.model = model
        self.version = version

    def __str__(self) -> str:
        return (
            f"model {self.model!r} has no version {self.version!r}; it has '1' alone, and an "
            "empty version is the same"
        )


class ModelNotLoadedError(RequestError):
    """The model is in the repository, but it is not loaded."""

    def __init__(self, model: str, missing: str) -> None:
        super().__init__(model, missing)
        self.model = model
        self.missing = missing

    def __str__(self) -> str:
        return f"model {self.model!r} is not loaded: {self.missing}"


class ModelLoadError(RequestError):
    """A model cannot be loaded: `why` says what is wrong, and where."""

    def __init__(self, model: str, why: str) -> None:
        super().__init__(model, why)
        self.model = model
        self.why = why

    def __str__(self) -> str:
        return f"model {self.model!r} was not loaded: {self.why}"


class NoResourcesError(RequestError):
    """No replica of a model's stage can be placed: `why` says what it needs and what is free."""

    def __init__(self, model: str, why: str) -> None:
        super().__init__(model, why)
        self.model = model
        self.why = why

    def __str__(self) -> str:
        return f"model {self.model!r} was not loaded: {self.why}"


class ModelsManagedError(RequestError):
    """The server's applications stand in a Serve config, whose owner decides which models run."""

    def __str__(self) -> str:
        return (
            "the models of this server stand in its Serve config (serveConfigV2); change `models` "
            "there and apply it: what is loaded beside it would be taken back"
        )


class RequestIdInUseError(RequestError):
    """The request_id belongs to another generation, which runs or is kept."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return (
            f"request_id {self.request_id!r} belongs to another generation, which runs or is "
            "kept; to join it, every other field must be equal"
        )


class GenerationNotFoundError(RequestError):
    """Nobody knows a generation of this name, or nobody knows it any more."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"no generation {self.request_id!r} runs or is kept here"


class EventsExpiredError(RequestError):
    """The generation's events are no longer kept."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"events of generation {self.request_id!r} that were asked for are no longer kept"


class RegionNotFoundError(RequestError):
    """No shared memory region of this name is registered."""

    def __init__(self, region: str) -> None:
        super().__init__(region)
        self.region = region

    def __str__(self) -> str:
        return (
            f"no shared memory region {self.region!r} is registered; "
            "SystemSharedMemoryStatus lists those that are"
        )


class RegionExistsError(RequestError):
    """The name belongs to another shared memory region."""

    def __init__(self, region: str) -> None:
        super().__init__(region)
        self.region = region

    def __str__(self) -> str:
        return f"shared memory region {self.region!r} is registered; unregister it first"


class RegionInUseError(RequestError):
    """Requests that run use these shared memory regions."""

    NAMED: ClassVar[int] = 8
    """How many of them the message names: it travels in a header, which has its limit."""

    def __init__(self, regions: tuple[str, ...]) -> None:
        super().__init__(regions)
        self.regions = regions

    def __str__(self) -> str:
        names = ", ".join(repr(region) for region in self.regions[: self.NAMED])
        rest = len(self.regions) - self.NAMED
        more = f" and {rest} more" if rest > 0 else ""
        return f"requests use shared memory {names}{more}; unregister it when they have ended"


class UnauthenticatedError(RequestError):
    """The server has API keys, and the call has none of them.

    One text, whatever is wrong with what the call has: it tells nobody which keys there are.
    """

    def __str__(self) -> str:
        return "a valid API key is needed; send it as metadata: 'authorization: Bearer ley_...'"


class PermissionDeniedError(RequestError):
    """The caller is known, and what he asks for is not allowed to him.

    `reason` is UPPER_SNAKE_CASE, `metadata` what it is about.
    """

    def __init__(self, reason: str, message: str, metadata: dict[str, str]) -> None:
        super().__init__(reason, message, metadata)
        self.reason = reason
        self.message = message
        self.metadata = metadata

    def __str__(self) -> str:
        return self.message


class QuotaExceededError(RequestError):
    """The caller's API key allows no more of it now; others are served.

    `reason` is UPPER_SNAKE_CASE, `limits` are the numbers that it is about, and `retry_after_s`
    says when to come back; None: the same request would never be allowed.
    """

    def __init__(
        self, reason: str, message: str, limits: dict[str, str], retry_after_s: float | None
    ) -> None:
        super().__init__(reason, message, limits, retry_after_s)
        self.reason = reason
        self.message = message
        self.limits = limits
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class OverloadedError(RequestError):
    """Too much is asked of the server now.

    `reason` is UPPER_SNAKE_CASE, `retry_after_s` the expected wait in seconds, and
    `limits` are the numbers that the reason is about.
    """

    def __init__(
        self, reason: str, message: str, limits: dict[str, str], retry_after_s: float
    ) -> None:
        super().__init__(reason, message, limits, retry_after_s)
        self.reason = reason
        self.message = message
        self.limits = limits
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class OutOfMemoryError(RequestError):
    """The device has not enough memory for this image, even alone."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage

    def __str__(self) -> str:
        return f"the {self.stage} has not enough memory for an image of this size"


class ReaderTooSlowError(RequestError):
    """The client has not read its stream for too long, or left too much of it unread."""

    def __init__(self, message: str, limits: dict[str, str]) -> None:
        super().__init__(message, limits)
        self.message = message
        self.limits = limits

    def __str__(self) -> str:
        return self.message


class CancelledByRequestError(RequestError):
    """CancelGeneration ended the generation."""

    def __str__(self) -> str:
        return "the generation was ended by CancelGeneration"


class DeadlineExceededError(RequestError):
    """The client's deadline passed."""

    def __str__(self) -> str:
        return "the deadline passed before the generation was done"


class UnsupportedError(RequestError):
    """The client asks for what this server does not have, whatever the request."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class UnavailableError(RequestError):
    """Not now: loading, draining, or a stage died. `reason` is UPPER_SNAKE_CASE."""

    def __init__(self, reason: str, message: str, retry_after_s: float) -> None:
        super().__init__(reason, message, retry_after_s)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class StageFailedError(RequestError):
    """A defect in a stage: what its log has under `error_id`, told without its objects.

    An exception of torch, pickled, would make whoever reads it import torch.
    """

    def __init__(self, stage: str, text: str, error_id: str) -> None:
        super().__init__(stage, text, error_id)
        self.stage = stage
        self.text = text
        self.error_id = error_id

    def __str__(self) -> str:
        return f"the {self.stage} failed: {self.text}"
