"""The generations of this Gateway: started or joined, watched, cancelled, drained."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from leyden_server.config import GatewayConfig
from leyden_server.errors import (
    CancelledByRequestError,
    GenerationNotFoundError,
    RequestError,
    RequestIdInUseError,
    UnavailableError,
)
from leyden_server.generations.account import ANY_KEY, Account
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.directory import Directory
from leyden_server.generations.generation import Generation
from leyden_server.generations.home import Caller, Home
from leyden_server.generations.homes import Holdings, Homes
from leyden_server.generations.line import Place
from leyden_server.generations.parameters import GenerationParameters, GenerationRequest
from leyden_server.generations.quota import Quotas
from leyden_server.generations.records import Observer, RequestRecord, StreamedResponse
from leyden_server.generations.rules import Vocabulary, check_request_id, validate
from leyden_server.generations.served_model import ServedModel
from leyden_server.generations.server_state import GatewayReport
from leyden_server.generations.telling import Telling
from leyden_server.generations.tracing import NoTracer, Tracer
from leyden_server.generations.watching import OwnedElsewhereError, Watching
from leyden_server.private_text import keep_private
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
        tracer: Tracer | None = None,
    ) -> None:
        """Take what it needs.

        Args:
            catalog: the models.
            config: limits and times.
            observers: who is told how each request ended.
            describe: gives the code, reason and message that records have of an error.
            replica: this Gateway's name, for bills.
            directory: who has which generation, over all Gateways.
            tracer: makes the requests' traces; None: nobody does.

        """
        self.catalog = catalog
        self._started_s = time.monotonic()
        self._config = config
        self._replica = replica
        self._directory = directory
        self._telling = Telling(observers, describe, tracer or NoTracer())
        self._homes = Homes(config, directory, self._telling)
        self._quotas = Quotas(config.replicas)
        self._has_noticed = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of all generations that run or are kept here."""
        return tuple(self._homes.by_name)

    def report(self) -> GatewayReport:
        """Return what this Gateway does now."""
        return GatewayReport(
            replica=self._replica,
            uptime_s=time.monotonic() - self._started_s,
            is_draining=self.is_draining,
            open_streams=self.holdings.open_streams,
            waiting_images={
                served.model.name: served.line.waiting_images for served in self.catalog.served
            },
        )

    @property
    def holdings(self) -> Holdings:
        """What is held for those who watch, or may come back."""
        return self._homes.holdings

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self._homes.is_draining

    @property
    def is_leaving(self) -> bool:
        """Whether nothing new is to be sent here: a drain has begun, or is to come."""
        return self._has_noticed or self.is_draining

    def give_notice(self) -> None:
        """Say that a drain is to come; new requests are still taken."""
        self._has_noticed = True

    async def start(
        self, request: GenerationRequest, caller: Caller, vocabulary: Vocabulary
    ) -> Watching:
        """Begin a generation, or join the one of that name, and watch it from its first event.

        Raises:
            RequestError: it is refused.
            OwnedElsewhereError: another Gateway has the generation of that name.

        """
        keep_private(request.prompt, request.negative_prompt)
        record = self._telling.arrived(caller)
        if self._config.log_prompts:
            most = self._config.max_prompt_chars
            record.prompts = {
                "prompt": request.prompt[:most],
                "negative_prompt": request.negative_prompt[:most],
            }
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
            self._telling.refused(record)
            raise
        except OwnedElsewhereError:
            raise
        except Exception as error:
            known = self.known(error)
            self._telling.refused(record, known)
            raise known from error

    async def watch(self, request_id: str, after_index: int | None, caller: Caller) -> Watching:
        """Watch a generation from behind an index; None: from its first event.

        Raises:
            InvalidRequestError: no generation can have such a name.
            GenerationNotFoundError: nobody knows it (any more).
            EventsExpiredError: its events are no longer kept.
            OwnedElsewhereError: another Gateway has it.

        """
        home = await self._find(request_id, caller.account)
        return self._homes.enter(home, caller, after_index)

    async def cancel(self, request_id: str, caller: Caller) -> None:
        """Mark a generation as ended; its rows are free at the next step.

        Raises:
            InvalidRequestError: no generation can have such a name.
            GenerationNotFoundError: nobody knows it (any more).
            OwnedElsewhereError: another Gateway has it.

        """
        self._homes.end(await self._find(request_id, caller.account), CancelledByRequestError())

    def check(self, request: GenerationRequest, account: Account, vocabulary: Vocabulary) -> None:
        """See that a request could be started, as far as that can be known without starting it.

        Raises:
            RequestError: it would be refused.

        """
        served = self.catalog.get(request.model)
        self._parameters(replace(request, request_id="unnamed"), served, account, vocabulary)

    def turned_away(self, caller: Caller, error: Exception, model: str = "") -> None:
        """Tell the observers of a call that was refused before there was a request to start.

        `model` is what it called the model, where that could be read.
        """
        record = self._telling.arrived(caller)
        record.model = model[:MAX_LOGGED_CHARS]
        self._telling.refused(record, error)

    def sent(self, protocol: str, size_bytes: int) -> None:
        """Tell the observers of a message that was sent to a client."""
        self._telling.sent(protocol, size_bytes)

    def responded(self, response: StreamedResponse) -> None:
        """Tell the observers of a response of a stream that has statistics."""
        self._telling.responded(response)

    def known(self, error: Exception) -> RequestError:
        """Return an error that may be shown: a defect is logged, and then known by its id."""
        return self._telling.known(error)

    async def drain(self, timeout_s: float) -> None:
        """Refuse what is new and wait for what runs, for `timeout_s` at most.

        What nobody watches is given up at once. What is left at last ends as UNAVAILABLE.
        """
        await self._homes.drain(timeout_s, _draining)

    async def _join(self, request: GenerationRequest, caller: Caller) -> Watching | None:
        """Watch the generation of that name from its first event, if there is one to join."""
        homes = self._homes.by_name
        home = homes.get(caller.account.scoped(request.request_id))
        if home is None or not home.can_be_joined:
            return None
        if home.request != request and not await self._is_left(home):
            raise RequestIdInUseError(request.request_id)
        if homes.get(home.name) is not home:
            return None  # it was left meanwhile
        return self._homes.enter(home, caller, None)

    async def _begin(
        self,
        request: GenerationRequest,
        caller: Caller,
        record: RequestRecord,
        vocabulary: Vocabulary,
    ) -> Watching:
        if self.is_draining:
            raise _draining()
        served = self.catalog.get(request.model)
        record.model = served.model.name
        account = caller.account
        named = replace(request, request_id=request.request_id or record.request_id)
        parameters = self._parameters(named, served, account, vocabulary)
        take, images = partial(self._quotas.take, account), parameters.image_count
        share = take(images) if caller.call is None else caller.call.share(images, take)
        home = Home(request, parameters, record, self._homes.unread, account=account, share=share)
        self._homes.add(home)
        # Until there is a generation to end, a drain ends the call.
        home.task = asyncio.current_task()
        home.use = served.use(partial(self._homes.end, home))
        try:
            if request.request_id:
                # The answer is awaited beside the first stage, before the first event.
                home.claim = asyncio.create_task(self._directory.claim(home.name))
                home.claim.add_done_callback(_take_error)
            # Before it can be refused: who has no time for a start has the next one find it done.
            await served.wake()
            timeout_s = None if home.lingers else caller.timeout_s
            home.place = self._admit(home, served, timeout_s)
        except BaseException as error:
            self._homes.drop(home)
            if isinstance(error, asyncio.CancelledError) and home.end_with is not None:
                raise home.end_with from None
            raise
        generation = Generation(
            parameters,
            served,
            home.place,
            home.log,
            config=self._config,
            replica=self._replica,
            notes=self._telling.admitted(record),
        )
        watching = self._homes.enter(home, caller, None)
        self._homes.run(home, generation)
        return watching

    def _parameters(
        self,
        request: GenerationRequest,
        served: ServedModel,
        account: Account,
        vocabulary: Vocabulary,
    ) -> GenerationParameters:
        account.require_model(served.model.name)
        allowed = replace(request, priority=account.priority(request.priority))
        return validate(allowed, served.model, self._config, vocabulary)

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

    async def _find(self, request_id: str, account: Account) -> Home:
        check_request_id(request_id)
        home = self._homes.find(request_id, account)
        if home is not None:
            return home
        owner = await self._directory.owner(account.scoped(request_id))
        if owner is None and account.key_id and account.is_operator:
            owner = await self._directory.owner(f"{ANY_KEY}/{request_id}")
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
            async with asyncio.timeout(DEPARTURE_GRACE_S):
                await home.left.wait()
        except TimeoutError:
            return False
        return True


def _draining() -> UnavailableError:
    return UnavailableError("DRAINING", "the server is shutting down", RETRY_AFTER_S)


def _take_error(claim: "asyncio.Task[str | None]") -> None:
    """Keep asyncio from reporting the error of a claim that nobody waits for."""
    if not claim.cancelled():
        claim.exception()
