"""The home of every generation at this Gateway: begun, watched, cancelled, kept, forgotten."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from leyden_server.config import GatewayConfig
from leyden_server.errors import (
    CancelledByRequestError,
    GenerationNotFoundError,
    RequestError,
    RequestIdInUseError,
    StageFailedError,
    UnavailableError,
)
from leyden_server.generations.bounds import drop_oldest_images, too_much_unread
from leyden_server.generations.catalog import ModelCatalog, ServedModel
from leyden_server.generations.directory import Directory
from leyden_server.generations.event_log import Reading, Unread
from leyden_server.generations.generation import Generation
from leyden_server.generations.home import Caller, Home, with_name
from leyden_server.generations.line import Place
from leyden_server.generations.parameters import GenerationRequest
from leyden_server.generations.records import Observer, RequestRecord
from leyden_server.generations.rules import Vocabulary, check_request_id, validate
from leyden_server.generations.watching import OwnedElsewhereError, Watching
from leyden_server.service_order import ServiceOrder

__all__ = ["Generations"]

RETRY_AFTER_S = 5.0
"""When to come back to a server that is shutting down: another one may be there then."""

DEPARTURE_GRACE_S = 0.25
"""A client that leaves and asks again at once may be heard in the wrong order."""

MAX_LOGGED_CHARS = 128
"""Of names that have not been checked yet."""


class Generations:
    """All generations of one Gateway. For one event loop."""

    def __init__(
        self,
        catalog: ModelCatalog,
        config: GatewayConfig,
        observers: Sequence[Observer],
        describe: Callable[[Exception], tuple[str, str, str]],
        *,
        replica: str,
        directory: Directory,
    ) -> None:
        """Take what it needs.

        Args:
            catalog: the models.
            config: limits and times.
            observers: who is told how each request ended.
            describe: gives the code, reason and message that records have of an error.
            replica: this Gateway's name, for bills.
            directory: who has which generation, over all Gateways.

        """
        self.catalog = catalog
        self._config = config
        self._observers = observers
        self._describe = describe
        self._replica = replica
        self._directory = directory
        self._homes: dict[str, Home] = {}
        """By their names; one that runs still may have lost its name."""
        self._running: set[Home] = set()
        """Whose task has not come to its end."""
        self._unread = Unread()
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all generations that run or are kept here."""
        return tuple(self._homes)

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self._is_draining

    async def start(
        self, request: GenerationRequest, caller: Caller, vocabulary: Vocabulary
    ) -> Watching:
        """Begin a generation, or join the one of that name, and watch it from its first event.

        Raises:
            RequestError: it is refused.
            OwnedElsewhereError: another Gateway has the generation of that name.

        """
        record = RequestRecord(caller.peer, caller.timeout_s)
        record.request_id = request.request_id[:MAX_LOGGED_CHARS] or self._directory.draw_name()
        record.model = request.model[:MAX_LOGGED_CHARS]
        try:
            if request.request_id:
                joined = await self._join(request, caller)
                if joined is not None:
                    return joined
            return await self._begin(request, caller, record, vocabulary)
        except asyncio.CancelledError:
            record.code = "CANCELLED"
            self._tell(record)
            raise
        except OwnedElsewhereError:
            raise
        except Exception as error:
            known = self.known(error)
            self.refused(record, known)
            raise known from error

    async def watch(self, request_id: str, after_index: int | None, caller: Caller) -> Watching:
        """Watch a generation from behind an index; None: from its first event.

        Raises:
            InvalidRequestError: no generation can have such a name.
            GenerationNotFoundError: nobody knows it (any more).
            EventsExpiredError: its events are no longer kept.
            OwnedElsewhereError: another Gateway has it.

        """
        home = await self._find(request_id)
        return self._enter(home, caller, after_index)

    async def cancel(self, request_id: str) -> None:
        """Mark a generation as ended; its rows are free at the next step.

        Raises:
            InvalidRequestError: no generation can have such a name.
            GenerationNotFoundError: nobody knows it (any more).
            OwnedElsewhereError: another Gateway has it.

        """
        self._end(await self._find(request_id), CancelledByRequestError())

    def refused(self, record: RequestRecord, error: Exception) -> None:
        """Tell the observers of a request that was refused."""
        record.code, record.reason, record.message = self._describe(error)
        self._tell(record)

    def known(self, error: Exception) -> RequestError:
        """Return an error that may be shown: a defect is logged, and then known by its id."""
        if isinstance(error, RequestError):
            return error
        error_id = str(uuid.uuid4())
        for observer in self._observers:
            observer.defect(error_id, error)
        return StageFailedError("Gateway", type(error).__name__, error_id)

    async def drain(self, timeout_s: float) -> None:
        """Refuse what is new and wait for what runs, for `timeout_s` at most.

        What nobody watches is given up at once: nobody could have it afterwards. What is left
        at last ends as UNAVAILABLE.
        """
        self._is_draining = True
        for home in [*self._homes.values()]:
            if not home.callers and home.generation is not None:
                self._give_up(home)
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            for home in {*self._homes.values(), *self._running}:
                self._end(home, _draining())

    async def _join(self, request: GenerationRequest, caller: Caller) -> Watching | None:
        """Watch the generation of that name from its first event, if there is one to join."""
        home = self._homes.get(request.request_id)
        if home is None or not home.can_be_joined:
            return None
        if home.request != request and not await self._is_left(home):
            raise RequestIdInUseError(request.request_id)
        if self._homes.get(request.request_id) is not home:
            return None  # it was left meanwhile
        return self._enter(home, caller, None)

    async def _begin(
        self,
        request: GenerationRequest,
        caller: Caller,
        record: RequestRecord,
        vocabulary: Vocabulary,
    ) -> Watching:
        if self._is_draining:
            raise _draining()
        served = self.catalog.get(request.model)
        record.model = served.model.name
        named = request if request.request_id else with_name(request, record.request_id)
        parameters = validate(named, served.model, self._config, vocabulary)
        home = Home(request, parameters, record, self._unread)
        if request.request_id in self._homes:  # one that failed and is kept gives up its name
            self._forget(self._homes[request.request_id])
        self._homes[home.request_id] = home
        self._idle.clear()
        # Until there is a generation to end, a drain ends the call.
        home.task = asyncio.current_task()
        try:
            if request.request_id:
                # The answer is awaited beside the first stage, before the first event.
                home.claim = asyncio.create_task(self._directory.claim(home.request_id))
                home.claim.add_done_callback(_take_error)
            # Before it can be refused: who has no time for a start has the next one find it done.
            await served.wake()
            timeout_s = None if home.lingers else caller.timeout_s
            home.place = self._admit(home, served, timeout_s)
        except BaseException as error:
            home.is_told = True
            self._forget(home)
            self._note_idle()
            if isinstance(error, asyncio.CancelledError) and home.end_with is not None:
                raise home.end_with from None
            raise
        home.generation = Generation(
            parameters,
            served,
            home.place,
            home.log,
            config=self._config,
            replica=self._replica,
        )
        home.log.on_payload = self._bound_unread
        watching = self._enter(home, caller, None)
        self._running.add(home)
        home.task = asyncio.create_task(self._run(home, home.generation))
        return watching

    def _admit(self, home: Home, served: ServedModel, timeout_s: float | None) -> Place:
        now = time.monotonic()
        deadline_s = None if timeout_s is None else now + timeout_s
        parameters = home.parameters
        return served.line.admit(
            ServiceOrder(parameters.priority, now, deadline_s),
            images=parameters.image_count,
            rows_per_image=parameters.rows,
            steps=parameters.sampling.num_inference_steps,
            timeout_s=timeout_s,
        )

    async def _run(self, home: Home, generation: Generation) -> None:
        error: Exception | None = None
        try:
            await generation.run()
        except asyncio.CancelledError:
            error = home.end_with or CancelledByRequestError()
        except Exception as failure:  # noqa: BLE001 - whatever it is, its watchers are told
            error = home.end_with or self.known(_first(failure))
        finally:
            self._running.discard(home)
            home.ended_s = time.monotonic()
            if not home.has_ended:
                home.log.close(error)
            self._settle(home)

    def _enter(self, home: Home, caller: Caller, after_index: int | None) -> Watching:
        reading = home.log.read(after_index)
        home.callers[reading] = caller
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

    def _leave(
        self, home: Home, reading: Reading, code: str, error: Exception | None = None
    ) -> None:
        if home.callers.pop(reading, None) is None:
            return
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
        if not home.callers and home.timer is None and self._homes.get(home.request_id) is home:
            # The whole policy of leaving: at once, or after the time that the request named.
            if home.lingers and not self._is_draining:
                loop = asyncio.get_running_loop()
                home.timer = loop.call_later(home.parameters.linger_s, self._give_up, home)
            else:
                self._give_up(home)
        if home.log.payload_bytes and home.is_idle and home.request_id in self._homes:
            drop_oldest_images(self._homes.values(), self._config.max_kept_bytes)
        self._note_idle()

    def _give_up(self, home: Home) -> None:
        """Forget a generation that nobody watches; one that runs is ended."""
        self._forget(home)
        if not home.has_ended and home.task is not None:
            home.was_given_up = True
            home.task.cancel()
        self._note_idle()

    def _end(self, home: Home, error: Exception) -> None:
        """End a generation that runs: its watchers are told `error` after what they have not read.

        Harmless where it has ended.
        """
        if not home.has_ended:
            home.end_with = error
            home.log.close(error)
            if home.task is not None:
                home.task.cancel()
            self._settle(home)

    def _forget(self, home: Home) -> None:
        """Take a generation's name away."""
        if home.timer is not None:
            home.timer.cancel()
            home.timer = None
        if self._homes.get(home.request_id) is home:
            del self._homes[home.request_id]
            if home.claim is not None:
                # Not before it was claimed, which it may be only in the next turn of the loop.
                home.claim.add_done_callback(partial(self._give_back, home.request_id))

    def _give_back(self, request_id: str, _: object) -> None:
        if request_id not in self._homes:  # or the next of that name would lose it
            self._directory.forget(request_id)

    def _disown(self, home: Home) -> None:
        """Let go of a generation whose name is another Gateway's: that one answers for it."""
        home.is_told = True
        if self._homes.get(home.request_id) is home:
            del self._homes[home.request_id]
        if home.task is not None:
            home.task.cancel()

    def _note_idle(self) -> None:
        if not self._running and all(home.is_idle for home in self._homes.values()):
            self._idle.set()
        else:
            self._idle.clear()

    async def _find(self, request_id: str) -> Home:
        check_request_id(request_id)
        home = self._homes.get(request_id)
        if home is not None:
            return home
        owner = await self._directory.owner(request_id)
        if owner is not None:
            raise OwnedElsewhereError(owner)
        raise GenerationNotFoundError(request_id)

    async def _is_left(self, home: Home) -> bool:
        """Return whether the watchers of one that does not linger have left it just now.

        Their departure may be heard after the request that follows it.
        """
        if home.lingers:
            return False
        try:
            await asyncio.wait_for(home.left.wait(), DEPARTURE_GRACE_S)
        except TimeoutError:
            return False
        return True

    def _bound_unread(self) -> None:
        if self._unread.bytes <= self._config.max_unsent_bytes:
            return
        for home, reading, error in too_much_unread(
            self._homes.values(), self._config.max_unsent_bytes
        ):
            reading.cut_off(error)
            self._leave(home, reading, "", error)

    def _tell_end(self, home: Home) -> None:
        home.is_told = True
        record, error = home.finished_record(), home.log.error
        if home.was_given_up or error is None:
            error = None if home.lingers else home.left_because
        if error is not None:
            record.code, record.reason, record.message = self._describe(error)
        self._tell(record)

    def _tell(self, record: RequestRecord) -> None:
        for observer in self._observers:
            observer.ended(record)


def _draining() -> UnavailableError:
    return UnavailableError("DRAINING", "the server is shutting down", RETRY_AFTER_S)


def _take_error(claim: "asyncio.Task[str | None]") -> None:
    """Keep asyncio from reporting the error of a claim that nobody waits for."""
    if not claim.cancelled():
        claim.exception()


def _first(error: Exception) -> Exception:
    """Return the first error of a task group; the others are its cancelled siblings'."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
