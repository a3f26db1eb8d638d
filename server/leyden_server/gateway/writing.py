"""Writing to a client that may read slowly, read no more, or be gone.

What grpc.aio does (1.85), which none of its documents say:

- A client that leaves cancels the handler's task, wherever that waits. If it waits in
  `context.write`, the write mostly fails first, with `ExecuteBatchError`, and the task is
  cancelled a moment later. Neither `context.done()` nor `context.cancelled()` tells of it:
  both speak of the status that the server itself has sent.
- `context.write` may be cancelled: the message stays with gRPC and goes out when the client
  reads on; a status that is given afterwards follows it. But not the first write of a call
  whose initial metadata have not been sent: gRPC then takes no status any more, and the
  client waits for ever. So every handler begins with `context.send_initial_metadata`.
- `context.abort` waits until the client has read all that stands before the status, so for
  ever if it never does. A handler that returns does not wait: gRPC sends the status itself.
- A handler that raises CancelledError of its own accord, while its client is there, ends
  without a status, and the client waits on.
"""

import asyncio
from contextlib import suppress
from typing import Any

import grpc

from leyden_server.errors import ReaderTooSlowError

__all__ = ["DepartedError", "end", "write"]

Context = grpc.aio.ServicerContext[Any, Any]

BROKEN_OFF = 'Failed "execute_batch"'
"""How the text of gRPC's error begins when the call is over; a misuse has another text."""

CANCELLED_WITHIN_S = 5.0
"""How long to wait for the CancelledError that follows a failed write; it takes milliseconds."""


class DepartedError(asyncio.CancelledError):
    """The client has left: cancelled, closed, passed its deadline, or lost the connection.

    A CancelledError, so that `except asyncio.CancelledError` catches a departure in whichever
    way it comes, and `except Exception` takes it for no defect.
    """


async def write(context: Context, message: Any, timeout_s: float) -> None:
    """Write one message; wait `timeout_s` seconds at most for the client to make room for it.

    One write at a time, and none before the initial metadata. Raises `ReaderTooSlowError` when
    the time is up: the message may still arrive, so write no other and `end` the call. Raises
    `DepartedError`, or the CancelledError of gRPC itself, when the client has left.
    """
    try:
        async with asyncio.timeout(timeout_s):  # without a task for each write, as wait_for has
            await context.write(message)
    except TimeoutError:
        text = f"the client took nothing for {timeout_s:g} s, though more was there for it"
        raise ReaderTooSlowError(text, {"write_timeout_s": f"{timeout_s:g}"}) from None
    except grpc.aio.InternalError as error:
        if BROKEN_OFF not in str(error):
            raise  # two writes at once, say
        await _cancellation()
        raise DepartedError(str(error)) from error


def end(
    context: Context,
    code: grpc.StatusCode,
    message: str,
    trailing_metadata: tuple[tuple[str, str | bytes], ...],
) -> None:
    """Say how a stream ends; its handler must return right after.

    In place of `context.abort` wherever a write may have been broken off. A client that reads
    on gets the status behind what was written before. One that never does keeps the last
    message in this process until it leaves, but no handler.
    """
    context.set_code(code)
    context.set_details(message)
    context.set_trailing_metadata(trailing_metadata)


async def _cancellation() -> None:
    """Take the CancelledError that follows a write that broke off.

    It would hit whatever the handler awaits next: the end of its log, say.
    """
    with suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(CANCELLED_WITHIN_S):
            await asyncio.get_running_loop().create_future()
