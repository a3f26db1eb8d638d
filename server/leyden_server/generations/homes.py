"""The homes of all generations of one Gateway: watched, left, ended, kept, forgotten."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from leyden_server.config import GatewayConfig
from leyden_server.errors import CancelledByRequestError
from leyden_server.generations.account import Account
from leyden_server.generations.bounds import drop_oldest_images, too_much_unread
from leyden_server.generations.collecting import Collecting
from leyden_server.generations.directory import Directory
from leyden_server.generations.event_log import Reading, Unread
from leyden_server.generations.generation import Generation
from leyden_server.generations.home import Caller, Home
from leyden_server.generations.telling import Telling
from leyden_server.generations.watching import Watching

__all__ = ["Holdings", "Homes"]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one Gateway holds for those who watch, or may come back."""

    open_streams: int
    """Watchers."""
    kept_bytes: int
    """Image data of ended generations that nobody watches."""
    unsent_bytes: int
    """Image data that watchers have not taken yet."""
    dropped_previews: int
    """Since the start: previews that a watcher was too slow for."""


class Homes:
    """What becomes of a generation once it has begun. For one event loop."""

    def __init__(self, config: GatewayConfig, directory: Directory, telling: Telling) -> None:
        """Start without any; `directory` is told which names are free again."""
        self.by_name: dict[str, Home] = {}
        """By their names with their keys; one that runs still may have lost its name."""
        self.unread = Unread()
        self.is_draining = False
        """Whether nothing lingers any more."""
        self._config = config
        self._directory = directory
        self._telling = telling
        self._collecting = Collecting(telling.tallied)
        self._running: set[Home] = set()
        """Whose task has not come to its end."""
        self._open_streams = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def holdings(self) -> Holdings:
        """What it holds for readers now."""
        ended = [home for home in self.by_name.values() if home.is_idle]
        return Holdings(
            open_streams=self._open_streams,
            kept_bytes=sum(home.log.payload_bytes for home in ended),
            unsent_bytes=self.unread.bytes,
            dropped_previews=self.unread.dropped_previews,
        )

    def find(self, request_id: str, account: Account) -> Home | None:
        """Return the generation of that name and of the account's key; an operator's: of any key.

        Where several keys have one of that name, an operator has his own before the others'.
        """
        home = self.by_name.get(account.scoped(request_id))
        if home is None and account.key_id and account.is_operator:
            return next((h for h in self.by_name.values() if h.request_id == request_id), None)
        return home

    def add(self, home: Home) -> None:
        """Take a generation that begins; one that failed and is kept gives up its name."""
        if home.name in self.by_name:
            self.forget(self.by_name[home.name])
        self.by_name[home.name] = home
        self._idle.clear()

    def drop(self, home: Home) -> None:
        """Let go of a generation that could not begin: whoever refuses it tells of it."""
        home.is_told = True
        if home.use is not None:
            home.use.leave()
        home.share.refund()
        self.forget(home)
        self._note_idle()

    def run(self, home: Home, generation: Generation) -> None:
        """Run a generation in a task of its own."""
        home.generation = generation
        home.log.on_payload = self._bound_unread
        self._running.add(home)
        home.task = asyncio.create_task(self._run(home, generation))
        # One that is cancelled before its first turn never comes to its `finally`.
        home.task.add_done_callback(lambda _: self._note_end(home, generation, _cancelled(home)))

    def enter(self, home: Home, caller: Caller, after_index: int | None) -> Watching:
        """Watch a generation from behind an index; None: from its first event.

        Raises:
            EventsExpiredError: its events are no longer kept.

        """
        reading = home.log.read(after_index)
        home.callers[reading] = caller
        self._open_streams += 1
        home.left.clear()
        if home.timer is not None:
            home.timer.cancel()
            home.timer = None
        return Watching(
            home,
            reading,
            leave=partial(self._leave, home, reading),
            disown=partial(self._disown, home),
        )

    def end(self, home: Home, error: Exception) -> None:
        """End a generation that runs: its watchers are told `error` after what they have not read.

        Harmless where it has ended.
        """
        if not home.has_ended:
            home.end_with = error
            home.log.close(error)
            if home.task is not None:
                home.task.cancel()
            self._settle(home)

    def forget(self, home: Home) -> None:
        """Take a generation's name away."""
        if home.timer is not None:
            home.timer.cancel()
            home.timer = None
        if self.by_name.get(home.name) is home:
            del self.by_name[home.name]
            if home.claim is not None:
                # Not before it was claimed, which it may be only in the next turn of the loop.
                home.claim.add_done_callback(partial(self._give_back, home.name))

    async def drain(self, timeout_s: float, why: Callable[[], Exception]) -> None:
        """Wait for what runs, for `timeout_s` at most; what is left then ends with `why()`.

        What nobody watches is given up at once: nobody could have it afterwards.
        """
        self.is_draining = True
        for home in [*self.by_name.values()]:
            if not home.callers and home.generation is not None:
                self._give_up(home)
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            for home in {*self.by_name.values(), *self._running}:
                self.end(home, why())
        self._collecting.close()

    async def _run(self, home: Home, generation: Generation) -> None:
        error: Exception | None = None
        try:
            await generation.run()
        except asyncio.CancelledError:
            error = _cancelled(home)
        except Exception as failure:  # noqa: BLE001 - whatever it is, its watchers are told
            error = home.end_with or self._telling.known(_first(failure))
        finally:
            self._note_end(home, generation, error)

    def _note_end(self, home: Home, generation: Generation, error: Exception | None) -> None:
        """Let go of what only a generation that runs needs. Harmless when repeated."""
        if home not in self._running:
            return
        self._running.discard(home)
        if home.use is not None:
            home.use.leave()
        if generation.costs.has_left_its_engine:
            self._collecting.ask(generation.served)
        home.share.done()
        home.ended_s = time.monotonic()
        if not home.has_ended:
            home.log.close(error)
        self._settle(home)

    def _leave(
        self, home: Home, reading: Reading, code: str, error: Exception | None = None
    ) -> None:
        if home.callers.pop(reading, None) is None:
            return
        self._open_streams -= 1
        home.log.leave(reading)
        home.record.images_sent = max(home.record.images_sent, reading.images_read)
        if not home.callers:
            home.left_as, home.left_because = code, error
            home.left.set()
            self._settle(home)

    def _settle(self, home: Home) -> None:
        """Do what is due where a generation has ended, or its last watcher has left."""
        if home.is_idle and not home.is_told and home not in self._running:
            self._tell_end(home)
        if home.is_idle and home.place is not None:
            home.place.leave()  # all that it had is sent, or nobody waits for it
        if not home.callers and home.timer is None and self.by_name.get(home.name) is home:
            # The whole policy of leaving: at once, or after the time that the request named.
            if home.lingers and not self.is_draining:
                loop = asyncio.get_running_loop()
                home.timer = loop.call_later(home.parameters.linger_s, self._give_up, home)
            else:
                self._give_up(home)
        if home.log.payload_bytes and home.is_idle and home.name in self.by_name:
            drop_oldest_images(self.by_name.values(), self._config.max_kept_bytes)
        self._note_idle()

    def _give_up(self, home: Home) -> None:
        """Forget a generation that nobody watches; one that runs is ended."""
        self.forget(home)
        if not home.has_ended and home.task is not None:
            home.was_given_up = True
            home.task.cancel()
        self._note_idle()

    def _give_back(self, name: str, _: object) -> None:
        if name not in self.by_name:  # or the next of that name would lose it
            self._directory.forget(name)

    def _disown(self, home: Home) -> None:
        """Let go of a generation whose name is another Gateway's: that one answers for it."""
        home.is_told = True
        home.share.refund()
        if self.by_name.get(home.name) is home:
            del self.by_name[home.name]
        if home.task is not None:
            home.task.cancel()

    def _note_idle(self) -> None:
        if not self._running and all(home.is_idle for home in self.by_name.values()):
            self._idle.set()
        else:
            self._idle.clear()

    def _bound_unread(self) -> None:
        if self.unread.bytes <= self._config.max_unsent_bytes:
            return
        for home, reading, error in too_much_unread(
            self.by_name.values(), self._config.max_unsent_bytes
        ):
            reading.cut_off(error)
            self._leave(home, reading, "", error)

    def _tell_end(self, home: Home) -> None:
        home.is_told = True
        record, error = home.finished_record(), home.log.error
        if home.was_given_up or error is None:
            error = None if home.lingers else home.left_because
        self._telling.ended(record, error)


def _cancelled(home: Home) -> Exception:
    """Return what a generation ended of whose task was cancelled."""
    return home.end_with or CancelledByRequestError()


def _first(error: Exception) -> Exception:
    """Return the first error of a task group; the others are its cancelled siblings'."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
