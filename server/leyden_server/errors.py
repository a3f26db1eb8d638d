"""Every error that Leyden raises on purpose.

    LeydenError
    ├── StartupError               before the server runs; the CLI prints it and exits
    │   ├── ConfigError            a setting is wrong
    │   ├── ModelRepositoryError   a model entry is wrong
    │   │   └── HubError           the hub did not give what a model needs
    │   └── AddressInUseError      another process listens there
    └── RequestError               ends one request; `gateway.status` maps it to the wire
        ├── InvalidRequestError    fields are wrong
        ├── ModelNotFoundError     no such model
        ├── ModelNotLoadedError    listed, but this server does not load it
        ├── RequestIdInUseError    the request_id belongs to a running generation
        ├── OverloadedError        no room to wait, or no hope of being in time
        ├── DeadlineExceededError  the client's deadline passed
        └── UnavailableError       loading, draining, or a stage died

Request errors cross process borders inside pickles, so each keeps all that it
carries in `args`.
"""

from dataclasses import dataclass

__all__ = [
    "AddressInUseError",
    "ConfigError",
    "DeadlineExceededError",
    "FieldViolation",
    "HubError",
    "InvalidRequestError",
    "LeydenError",
    "ModelNotFoundError",
    "ModelNotLoadedError",
    "ModelRepositoryError",
    "OverloadedError",
    "RequestError",
    "RequestIdInUseError",
    "StartupError",
    "UnavailableError",
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


class ModelNotFoundError(RequestError):
    """There is no model of this name."""

    def __init__(self, model: str, models: tuple[str, ...]) -> None:
        super().__init__(model, models)
        self.model = model
        self.models = models

    def __str__(self) -> str:
        return f"no model {self.model!r}; the models are {', '.join(self.models)}"


class ModelNotLoadedError(RequestError):
    """The model is in the repository, but this server does not load it."""

    def __init__(self, model: str, missing: str) -> None:
        super().__init__(model, missing)
        self.model = model
        self.missing = missing

    def __str__(self) -> str:
        return f"model {self.model!r} is not loaded: {self.missing}"


class RequestIdInUseError(RequestError):
    """The request_id belongs to a generation that is running."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"request_id {self.request_id!r} belongs to a generation that is running"


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


class DeadlineExceededError(RequestError):
    """The client's deadline passed."""

    def __str__(self) -> str:
        return "the deadline passed before the generation was done"


class UnavailableError(RequestError):
    """Not now: loading, draining, or a stage died. `reason` is UPPER_SNAKE_CASE."""

    def __init__(self, reason: str, message: str, retry_after_s: float) -> None:
        super().__init__(reason, message, retry_after_s)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message
