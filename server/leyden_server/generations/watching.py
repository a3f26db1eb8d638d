"""One watcher of a generation, as a protocol's handler holds it."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from leyden_server.generations.event_log import Reading
from leyden_server.generations.home import Home

__all__ = ["OwnedElsewhereError", "Watching"]


class OwnedElsewhereError(Exception):
    """Another Gateway has the generation: whoever asked is to be answered by that one."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address
        """Where that Gateway listens for its peers."""


class Watching:
    """One watcher of a generation: enter it, read its events, leave it.

    Leaving is what ends a generation that does not linger, so it must be left whatever happens.
    """

    def __init__(
        self,
        home: Home,
        reading: Reading,
        *,
        leave: Callable[[str, Exception | None], None],
        disown: Callable[[], None],
    ) -> None:
        """Take a place in the log.

        Args:
            home: the generation.
            reading: its events from some index on.
            leave: called with how and why the watcher left; harmless when repeated.
            disown: called where another Gateway turns out to have the generation.

        """
        self._home = home
        self._reading = reading
        self._leave = leave
        self._disown = disown

    @property
    def request_id(self) -> str:
        """The generation's name."""
        return self._home.request_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    async def events(self) -> Reading:
        """Return every event with its index, to iterate once; it raises what all failed of.

        Raises:
            OwnedElsewhereError: another Gateway has the generation.

        """
        if self._home.claim is not None:
            owner = await asyncio.shield(self._home.claim)
            if owner is not None:
                self._disown()
                raise OwnedElsewhereError(owner)
        return self._reading

    def take_back(self, error: Exception) -> None:
        """Leave a generation whose call is refused after all; its key has its images back."""
        self._home.share.refund()
        self.leave(error=error)

    def leave(self, code: str = "", error: Exception | None = None) -> None:
        """Stop watching. Harmless when repeated.

        `code` says how the client left, where it did, and `error` why it was sent away.
        """
        self._leave(code or ("OK" if self._reading.is_complete else "CANCELLED"), error)
