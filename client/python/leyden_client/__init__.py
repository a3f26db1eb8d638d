"""Client of Leyden, a gRPC model server for SDXL-Lightning.

    >>> from leyden_client import Client
    >>> with Client("127.0.0.1:8001") as client:
    ...     generation = client.generate_image("a lighthouse at dusk", seed=7)
    ...     generation.images[0].save("lighthouse.png")

`Client` blocks; `AsyncClient` is the same for asyncio. Both stream typed events
as the server works (`stream_image`) or wait for the whole (`generate_image`).
What can go wrong is drawn in `leyden_client.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from leyden_client._version import __version__
from leyden_client.errors import (
    AlreadyExistsError,
    DeadlineExceededError,
    EventsExpiredError,
    FailedPreconditionError,
    FieldViolation,
    GenerationCancelledError,
    GenerationNotFoundError,
    InternalError,
    InvalidArgumentError,
    LeydenError,
    MessageTooLargeError,
    ModelLoadError,
    ModelsManagedError,
    NoResourcesError,
    NotFoundError,
    OutOfMemoryError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ReaderTooSlowError,
    RpcError,
    UnauthenticatedError,
    UnavailableError,
)
from leyden_client.events import (
    Bill,
    DenoiseProgress,
    Event,
    Generation,
    Image,
    ImageBill,
    Preview,
    Queued,
    RequestWarning,
    StepBill,
    Summary,
    TextEncoded,
)
from leyden_client.models import Model, ModelState
from leyden_client.options import (
    DEFAULT_TARGET,
    GenerateOptions,
    OutputFormat,
    PreviewOptions,
    Solver,
)
from leyden_client.security import TlsConfig
from leyden_client.server_state import GatewayState, ServerState, StageKind, StageState

if TYPE_CHECKING:
    from leyden_client.aio import AsyncClient
    from leyden_client.client import Client
else:
    # The clients import gRPC: what needs only the types, as a command line that is wrong,
    # does not wait for it.
    _HOMES = {"AsyncClient": "leyden_client.aio", "Client": "leyden_client.client"}

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "DEFAULT_TARGET",
    "AlreadyExistsError",
    "AsyncClient",
    "Bill",
    "Client",
    "DeadlineExceededError",
    "DenoiseProgress",
    "Event",
    "EventsExpiredError",
    "FailedPreconditionError",
    "FieldViolation",
    "GatewayState",
    "GenerateOptions",
    "Generation",
    "GenerationCancelledError",
    "GenerationNotFoundError",
    "Image",
    "ImageBill",
    "InternalError",
    "InvalidArgumentError",
    "LeydenError",
    "MessageTooLargeError",
    "Model",
    "ModelLoadError",
    "ModelState",
    "ModelsManagedError",
    "NoResourcesError",
    "NotFoundError",
    "OutOfMemoryError",
    "OutputFormat",
    "OverloadedError",
    "PermissionDeniedError",
    "Preview",
    "PreviewOptions",
    "ProtocolError",
    "Queued",
    "ReaderTooSlowError",
    "RequestWarning",
    "RpcError",
    "ServerState",
    "Solver",
    "StageKind",
    "StageState",
    "StepBill",
    "Summary",
    "TextEncoded",
    "TlsConfig",
    "UnauthenticatedError",
    "UnavailableError",
    "__version__",
]
