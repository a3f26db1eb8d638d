"""Calls over Ray Serve: by value, cancelled with their caller, errors mapped.

The one place that knows how Ray Serve calls and fails.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
from ray import serve
from ray.exceptions import ObjectRefStreamEndOfStreamError, RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from leyden_server.errors import RequestError, UnavailableError
from leyden_server.stages.contract import ReplicaState, StageReport
from leyden_server.stages.replica_counts import LOOK_PERIOD_S, ReplicaCounts

__all__ = [
    "MAX_BY_VALUE_BYTES",
    "RETRY_AFTER_S",
    "SERVE_ENVIRONMENT",
    "Patience",
    "StageHandle",
]

SERVE_ENVIRONMENT = {
    # By value Serve carries 4 MiB at most else, and the latents of 4096 x 4096 pixels are more.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
    # Nothing here blocks an event loop, so one is enough: a call saves its ways between threads.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""Environment that the replicas need, the Gateway's too (Ray Serve 2.60)."""

MAX_BY_VALUE_BYTES = 3 * 2**20
"""Larger results go through the object store, where 12 MB take 15 ms in place of 75 and
48 MB 50 in place of 370, most of them in the Gateway's event loop (two shared cores). A
call on its own costs 2 ms by value and 5 ms through the object store."""

RETRY_AFTER_S = 5.0
"""About how long Serve takes to notice a dead replica and to start another."""

STATE_TIMEOUT_S = 2.0
"""How long replicas have to say what they do."""

SHORTEST_START_S = 1.0
"""What a start that takes longer than expected is still expected to take."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a stage's callers wait for it."""

    stall_timeout_s: float
    """For any answer of a stage that has a running replica."""
    start_timeout_s: float
    """For a replica, of a stage that has none."""
    gone_after_s: float = math.inf
    """Without a running replica, until the stage counts as gone."""


class StageHandle:
    """One stage's deployment, as its callers see it.

    Small results and streams come by value: that is faster than the object store, and it is
    what lets a cancel reach a replica that is between two items (Ray Serve 2.60).
    `_by_reference` is an underscore API, so it is used here alone.

    A stage that rests, having no replica, is started by any call, which waits meanwhile.
    `rest_after_s` says for how long nobody must have asked before it may be at rest; None:
    it never is.
    """

    def __init__(
        self,
        application: str,
        deployment: str,
        patience: Patience,
        replicas: ReplicaCounts,
        rest_after_s: float | None = None,
    ) -> None:
        self.application = application
        self._deployment = deployment
        self._patience = patience
        self._replicas = replicas
        self._rest_after_s = rest_after_s
        self._handle: DeploymentHandle | None = None
        self._last_use_s = -math.inf
        self._last_answer_s = 0.0
        self._without_replica_s = 0.0
        self._start_asked_s = 0.0
        self._starting: asyncio.Task[None] | None = None
        self._start_took_s: float | None = None

    @property
    def name(self) -> str:
        """The name of its application."""
        return self.application

    @property
    def replicas(self) -> int:
        """Replicas that run, as far as is known."""
        known = self._replicas.known(self.application)
        return 1 if known is None else known.running

    @property
    def wanted(self) -> int:
        """Replicas that are to run, as far as is known."""
        known = self._replicas.known(self.application)
        return 1 if known is None else known.wanted

    @property
    def starts(self) -> bool:
        """Whether it has no replica and is getting one."""
        known = self._replicas.known(self.application)
        return self._is_starting or (known is not None and known.running == 0 and not self._rests)

    @property
    def problem(self) -> str:
        """Why the stage is gone, in words for clients; empty where it is there or at rest."""
        known = self._replicas.known(self.application)
        if known is None or known.running > 0 or self._rests:
            return ""
        if known.failed and known.others == 0:
            return f"Ray Serve says of {self.application}: {known.failed}"
        missing_s = self._replicas.without_replica_s(self.application)
        if missing_s < self._patience.gone_after_s:
            return ""
        return f"{self.application} has had no running replica for {missing_s:.0f} s"

    @property
    def _rests(self) -> bool:
        known = self._replicas.known(self.application)
        may_rest = self._rest_after_s is not None and not self._is_starting
        return may_rest and known is not None and known.running + known.others == 0

    async def ready(self) -> Any:
        """Return what the stage says of itself, once it is loaded and warmed up.

        However long that takes: whoever starts the stage watches over it.
        """
        asked_s = time.monotonic()
        info = await self._options(stream=False).ready.remote()
        took_s = time.monotonic() - asked_s
        if took_s >= SHORTEST_START_S:  # else a replica was there before
            self._start_took_s = took_s
        self._last_use_s = time.monotonic()
        self._replicas.answered(self.application)
        return info

    async def report(self) -> StageReport:
        """Ask every replica what it does; one that is late, or has died, is left out."""
        now, answers = await asyncio.gather(self._replicas.now(self.application), self._states())
        states = [answer for answer in answers if isinstance(answer, ReplicaState)]
        running = max(self.replicas, len(states))
        return StageReport(running, running if now is None else now.wanted, tuple(states))

    async def _states(self) -> list[Any]:
        if self.replicas == 0:
            return []  # to ask would have one started
        handle = self._options(stream=False)
        try:
            response = handle.broadcast("state")
            states: list[Any] = await response.results_async(
                timeout_s=STATE_TIMEOUT_S, return_exceptions=True
            )
        except (*_DEAD, TimeoutError):
            return []
        return states

    async def wake(self) -> None:
        """Have a replica started where the stage is at rest; return once that is known."""
        if self._rest_after_s is None or self._is_starting:
            return
        # What the controller says may be as old as a look: older than a first answer.
        quiet_s = max(self._rest_after_s, LOOK_PERIOD_S)
        used_s = time.monotonic() - self._last_use_s
        # Calls so short that Serve's samples miss them count for nothing there: it may send a
        # stage to rest that was used a moment ago.
        if used_s < LOOK_PERIOD_S or (used_s < quiet_s and self.replicas > 0):
            return
        if not await self._has_replica() and not self._is_starting:
            self._start_asked_s = time.monotonic()
            self._starting = asyncio.create_task(self._start())

    async def _has_replica(self) -> bool:
        """Ask the controller, unless the newest answer is that the stage rests.

        On a busy machine an answer may take longer than a caller waits. Where it takes too long
        the one before counts: a start of what runs is harmless, and none of what rests has the
        caller wait for a stage that nobody starts.
        """
        if self._rests:
            return False
        running = await self._replicas.running(self.application)
        return (self.replicas if running is None else running) > 0

    def expected_start_s(self) -> float | None:
        """Return in how many seconds a stage that starts will answer; 0 for one that runs.

        None where no start was seen yet.
        """
        if not self.starts:
            return 0.0
        if self._start_took_s is None:
            return None
        missing_s = self._replicas.without_replica_s(self.application)
        since_s = time.monotonic() - self._start_asked_s if self._is_starting else missing_s
        left_s = self._start_took_s - since_s
        return max(left_s, SHORTEST_START_S)

    async def call(self, method: str, *args: object, result_bytes: int = 0) -> Any:
        """Call a method and return its result, of at most about `result_bytes` if that is much.

        Raises:
            UnavailableError: the replica died, the stage answered nobody for the stall timeout,
                or it got no replica for the start timeout.
            RequestError: what the stage raised.

        """
        options = self._options(stream=False, by_reference=result_bytes > MAX_BY_VALUE_BYTES)
        response = getattr(options, method).remote(*args)
        try:
            return await self._answer(response)
        finally:
            _cancel(response)

    async def stream(self, method: str, *args: object) -> AsyncGenerator[Any]:
        """Call a generator method and yield its items; raises as `call` does."""
        items = getattr(self._options(stream=True), method).remote(*args)
        try:
            while True:
                try:
                    item = await self._answer(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            _cancel(items)

    async def _answer(self, awaitable: Awaitable[Any]) -> Any:
        answer = asyncio.ensure_future(_await(awaitable))
        asked_s = self._last_use_s = time.monotonic()
        try:
            while not answer.done():
                await self._watch(answer, asked_s)
            if answer.cancelled():
                # By the replica, as it went down: our caller's cancel arrives in `_watch`.
                # Passed on, it would end the caller's task as if that had been cancelled.
                raise self._died()
            result = answer.result()
        except _DEAD as error:
            raise self._died() from error
        except RayTaskError as error:
            cause = error.as_instanceof_cause()
            raise (cause.cause if isinstance(cause.cause, RequestError) else cause) from error
        finally:
            answer.add_done_callback(_forget)
            answer.cancel()
        self._last_use_s = self._last_answer_s = time.monotonic()
        self._replicas.answered(self.application)
        return result

    def _died(self) -> UnavailableError:
        return UnavailableError(
            "STAGE_DIED", f"a replica of {self.application} died", RETRY_AFTER_S
        )

    async def _watch(self, answer: "asyncio.Future[Any]", asked_s: float) -> None:
        """Wait for an answer, for a while; raise UnavailableError where it is overdue."""
        # A stage that answers others is busy, not dead: it only has to answer anybody.
        answered_s = max(asked_s, self._last_answer_s)
        # One without a replica starts: until it has one, that clock stands still.
        silent_s = time.monotonic() - max(answered_s, self._without_replica_s)
        stall_s = self._patience.stall_timeout_s
        if silent_s >= stall_s:
            raise UnavailableError(
                "STAGE_STALLED",
                f"{self.application} has answered nobody for {silent_s:.0f} s",
                RETRY_AFTER_S,
            )
        await asyncio.wait([answer], timeout=min(stall_s - silent_s, LOOK_PERIOD_S))
        answered_s = max(asked_s, self._last_answer_s)
        if answer.done() or time.monotonic() - answered_s < LOOK_PERIOD_S:
            return
        if await self._replicas.running(self.application) != 0:
            return
        self._without_replica_s = time.monotonic()
        silent_s = self._without_replica_s - answered_s
        if silent_s >= self._patience.start_timeout_s:
            raise UnavailableError(
                "STAGE_NOT_STARTED",
                f"{self.application} has no running replica, and got none in {silent_s:.0f} s",
                RETRY_AFTER_S,
            )

    @property
    def _is_starting(self) -> bool:
        return self._starting is not None and not self._starting.done()

    async def _start(self) -> None:
        # A call of any kind makes Serve start a replica. Where that fails, those who wait
        # for an answer are told so by their own calls.
        with contextlib.suppress(*_DEAD):
            await self.ready()

    def _options(self, *, stream: bool, by_reference: bool = False) -> DeploymentHandle:
        if self._handle is None:
            self._handle = serve.get_deployment_handle(
                self._deployment, self.application, _check_exists=False
            )
        return self._handle.options(stream=stream, _by_reference=by_reference)


# RayActorError covers ActorDiedError and ActorUnavailableError; a by-value call can also
# surface a bare gRPC error, and one by reference that its replica cancelled just ends.
_DEAD = (
    RayActorError,
    ObjectRefStreamEndOfStreamError,
    grpc.aio.AioRpcError,
    RayServeException,
)


def _forget(answer: "asyncio.Future[Any]") -> None:
    """Take an answer's error, or asyncio logs that of a cancelled call as a defect."""
    if not answer.cancelled():
        answer.exception()


def _cancel(response: Any) -> None:
    """Cancel a call: outside a Serve request nothing else does; harmless once it is done."""
    try:
        response.cancel()
    except _DEAD:
        # It never reached a replica, which `cancel` raises once more: nothing to cancel.
        return


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
