"""How a call of grpc.aio is answered where there is no answer: with a status and its details."""

from typing import Any, NoReturn

import grpc

from leyden_server.gateway.access import account_of
from leyden_server.gateway.call import trace_context
from leyden_server.gateway.status import to_wire
from leyden_server.gateway.writing import end
from leyden_server.generations.home import Caller

__all__ = ["caller_of", "departure_code", "end_stream", "refuse"]

DEADLINE_ROUNDING = 0.01
"""As a share of a deadline: how much of it may be left on this side when its client leaves.

gRPC tells a server a deadline with three digits, rounded up: 25.01 s arrive as 25.1, and the client
is gone with 0.095 s left (grpc 1.85).
"""


async def refuse(error: Exception, context: "grpc.aio.ServicerContext[Any, Any]") -> NoReturn:
    """End a call that has answered nothing yet; raises what gRPC raises to end a handler."""
    wire = to_wire(error)
    await context.abort(wire.code, wire.message, wire.trailing_metadata())
    raise AssertionError("abort raises")


def end_stream(error: Exception, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
    """Say how a stream ends; its handler must return right after."""
    wire = to_wire(error)
    end(context, wire.code, wire.message, wire.trailing_metadata())


def caller_of(context: "grpc.aio.ServicerContext[Any, Any]", method: str) -> Caller:
    """Return what the house wants to know of a call of `method` ("package.Service/Method")."""
    metadata = dict(context.invocation_metadata() or ())
    return Caller(
        context.peer(),
        context.time_remaining(),
        account=account_of(context),
        method=method,
        trace=trace_context(metadata),
    )


def departure_code(left_s: float | None, timeout_s: float | None) -> str:
    """Return the name of the code for a client that left with so much of its deadline left."""
    late = left_s is not None and timeout_s is not None and left_s <= DEADLINE_ROUNDING * timeout_s
    return "DEADLINE_EXCEEDED" if late else "CANCELLED"
