"""A call as a handler sees it, whatever its client speaks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from leyden_server.gateway.status import WireStatus, to_wire
from leyden_server.generations.account import Account
from leyden_server.generations.home import Caller
from leyden_server.generations.tracing import TraceContext

__all__ = ["TRACE_HEADERS", "Call", "Metadata", "trace_context"]

Metadata = Sequence[tuple[str, str | bytes]]

TRACE_HEADERS = ("traceparent", "tracestate")
"""Of W3C Trace Context."""


class Call(ABC):
    """One call, from its request to its end.

    A handler writes the messages of a stream, or returns the one of a unary call. Where it cannot,
    it says so by `end` or `fail` and returns. A client that leaves, and a deadline that passes,
    cancel the handler wherever it waits.
    """

    def __init__(
        self,
        method: str,
        peer: str,
        metadata: Mapping[str, str | bytes],
        account: Account,
        protocol: str,
    ) -> None:
        """Take what came with the call.

        Args:
            method: what was called, as "package.Service/Method".
            peer: the client's address, as gRPC writes it.
            metadata: the call's headers, by their names in lower case.
            account: whose call it is.
            protocol: what the client speaks, as the request log and the metrics name it.

        """
        self.method = method
        self.peer = peer
        self.metadata = metadata
        self.account = account
        self.protocol = protocol
        self.status: WireStatus | None = None
        """How it ends; None: well, or not yet."""

    @abstractmethod
    def time_remaining(self) -> float | None:
        """Return how many seconds are left until its deadline; None: it has none."""

    @abstractmethod
    async def begin(self, metadata: Metadata = ()) -> None:
        """Tell the client that its request is accepted; before the first message."""

    @abstractmethod
    async def write(self, message: bytes) -> None:
        """Send a message, in protobuf's binary form, once there is room for it.

        Raises:
            ReaderTooSlowError: the client has made none for too long; write no more.

        """

    def end(self, status: WireStatus) -> None:
        """Say how it ends; its handler must return right after."""
        self.status = status

    def fail(self, error: Exception) -> None:
        """Say of what error it ends; its handler must return right after."""
        self.end(to_wire(error).status())

    def caller(self) -> Caller:
        """Return what the house wants to know of it."""
        return Caller(
            self.peer,
            self.time_remaining(),
            account=self.account,
            method=self.method,
            protocol=self.protocol,
            trace=trace_context(self.metadata),
        )


def trace_context(metadata: Mapping[str, str | bytes]) -> TraceContext | None:
    """Return whose trace a call belongs to; None: it names none."""
    parent, state = (metadata.get(name, "") for name in TRACE_HEADERS)
    if not parent or not isinstance(parent, str) or not isinstance(state, str):
        return None
    return TraceContext(parent, state)
