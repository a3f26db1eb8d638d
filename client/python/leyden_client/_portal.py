"""The way from blocking code to an event loop that runs on a thread of its own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from leyden_client._status import closed_while_running

T = TypeVar("T")


class _PortalClosedError(RuntimeError):
    """Nothing is handed to a loop that has ended."""


class Portal:
    """An event loop on a thread of its own, to which blocking code hands coroutines."""

    def __init__(self, name: str) -> None:
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._stop = asyncio.Event()
        # While it is held, `_closed` stays as it is: nothing is handed to a loop
        # that has ended. Reentrant, as the garbage collector may call `close`
        # at any point, on any thread.
        self._lock = threading.RLock()
        self._closed = False
        # A daemon: a program that forgets to close its client still ends.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name=name, daemon=True
        )
        self._thread.start()
        self._loop = started.result()

    async def _serve(self, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` to its end and return its result.

        Whatever interrupts the wait (KeyboardInterrupt, say) cancels the
        coroutine, and leaves here only once that has come to its end. Raises
        `RuntimeError` after `close`.
        """
        work = _Work(coroutine)
        try:
            self._hand_over(work.start)
            return work.result()
        except asyncio.CancelledError:
            # Nobody here cancelled it: the loop did, at its end.
            raise closed_while_running() from None
        except BaseException:
            if not work.ended:
                self._abandon(work)
            raise

    def _hand_over(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                raise _PortalClosedError("the client is closed")
            self._loop.call_soon_threadsafe(callback)

    def _abandon(self, work: "_Work[Any]") -> None:
        """Cancel `work`, if it was started at all, and wait for its end."""
        try:
            self._hand_over(work.abandon)
        except RuntimeError:
            self._thread.join()  # a loop that ends cancels all that it has
            work.abandon()
        else:
            work.wait()

    def iterate(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield what `source` yields, pulled one at a time so that backpressure reaches it.

        However the iteration ends, `source` is closed.
        """
        end = object()
        try:
            while (item := self.run(_next(source, end))) is not end:
                yield item  # type: ignore[misc]  # what is not `end` is a T
        finally:
            # A loop that has ended, perhaps only now, has closed its generators. On
            # the loop's own thread, where the garbage collector may end an iteration,
            # waiting would be for ever; there the loop closes what is dropped here.
            if threading.current_thread() is not self._thread:
                with suppress(_PortalClosedError):
                    self.run(_aclose(source))

    def close(self) -> None:
        """End the loop; what still runs on it is cancelled. Closing twice is closing once."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()


class _Work(Generic[T]):
    """A coroutine on its way through the portal."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.ended = False
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        # Held until the end. Not a Future or an Event: their conditions are
        # written in Python, and KeyboardInterrupt in the midst of one breaks it.
        self._end = threading.Lock()
        self._end.acquire()

    def wait(self) -> None:
        """Wait for the end; one thread may, and `start` must be on its way."""
        if not self.ended:
            self._end.acquire()

    def result(self) -> T:
        """Wait for the end; return what the coroutine returned, or raise what it raised."""
        self.wait()
        assert self._task is not None
        return self._task.result()

    def start(self) -> None:
        """Start the coroutine; called on the loop."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._on_done)

    def abandon(self) -> None:
        """Cancel the coroutine; called on the loop, or after the loop's end."""
        if self._task is not None:
            self._task.cancel()
        elif not self.ended:
            # Interrupted before it was handed over.
            self._coroutine.close()
            self._set_ended()

    def _on_done(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            # asyncio logs errors that nobody asked for, as those of abandoned work.
            task.exception()
        self._set_ended()

    def _set_ended(self) -> None:
        self.ended = True
        self._end.release()


async def _next(source: AsyncGenerator[T, None], end: object) -> T | object:
    return await anext(source, end)


async def _aclose(source: AsyncGenerator[Any, None]) -> None:
    await source.aclose()
