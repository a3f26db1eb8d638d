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
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from leyden_server.errors import ReaderTooSlowError

__all__ = ["DepartedError", "Writer", "end"]

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


class Writer:
    """Writes to one call, from one task; a context manager, so that its timer ends with it.

    One timer for all writes: it looks at the one that is under way, where there is one, and comes
    back when that would be late. A timer for each write costs as much as encoding the message.
    """

    def __init__(self, context: Context, timeout_s: float) -> None:
        """`timeout_s`: how many seconds a write waits for the client to make room for it."""
        self._context = context
        self._timeout_s = timeout_s
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._began_s: float | None = None
        """When the write under way began; None: there is none."""
        self._is_late = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def write(self, message: Any) -> None:
        """Write one message, and none before the initial metadata.

        Raises:
            ReaderTooSlowError: the time is up. The message may still arrive, so write no other
                and `end` the call.
            DepartedError: the client has left; or the CancelledError of gRPC itself.

        """
        self._began_s = time.monotonic()
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)
        try:
            await self._context.write(message)
        except asyncio.CancelledError:
            # As asyncio.timeout has it: who is cancelled from elsewhere as well stays so.
            if self._is_late and self._task is not None and self._task.uncancel() == 0:
                raise self._too_slow() from None
            raise
        except grpc.aio.InternalError as error:
            if BROKEN_OFF not in str(error):
                raise  # two writes at once, say
            await _cancellation()
            raise DepartedError(str(error)) from error
        finally:
            self._began_s = None

    def _look(self) -> None:
        self._timer = None
        if self._began_s is None:
            return  # the next write starts it again
        left_s = self._began_s + self._timeout_s - time.monotonic()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        elif self._task is not None:
            self._is_late = True
            self._task.cancel()

    def _too_slow(self) -> ReaderTooSlowError:
        text = f"the client took nothing for {self._timeout_s:g} s, though more was there for it"
        return ReaderTooSlowError(text, {"write_timeout_s": f"{self._timeout_s:g}"})


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
