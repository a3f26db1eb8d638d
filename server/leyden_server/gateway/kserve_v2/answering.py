"""Errors as those clients show them: by their text alone.

`tritonclient` shows a status's code and text, and of a stream's error nothing but the text. So
the text says what the details say: when to come back, and of a stream's error the code too.
"""

from dataclasses import replace
from typing import Any, NoReturn

import grpc
from google.rpc.error_details_pb2 import RetryInfo

from leyden_server.gateway.status import WireError, to_wire
from leyden_server.gateway.writing import end

__all__ = ["end_stream", "error_message", "refuse", "told"]

Context = grpc.aio.ServicerContext[Any, Any]


def told(error: Exception) -> WireError:
    """Return what the one table has for an error, its text with all that the details say."""
    wire = to_wire(error)
    for detail in wire.details:
        if isinstance(detail, RetryInfo):
            delay_s = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9
            return replace(wire, message=f"{wire.message}; try again in {delay_s:.3g} s")
    return wire


def error_message(error: Exception) -> str:
    """Return an error as a stream's response carries it: its code's name, and the text."""
    wire = told(error)
    return f"{wire.code.name}: {wire.message}"


async def refuse(error: Exception, context: Context) -> NoReturn:
    """End a call that has answered nothing yet; raises what gRPC raises to end a handler."""
    wire = told(error)
    await context.abort(wire.code, wire.message, wire.trailing_metadata())
    raise AssertionError("abort raises")


def end_stream(error: Exception, context: Context) -> None:
    """Say how a stream ends; its handler must return right after."""
    wire = told(error)
    end(context, wire.code, wire.message, wire.trailing_metadata())
