"""Calls from the Gateway to the stages: by value, cancelled with their caller, errors mapped.

The one place that knows how Ray Serve calls and fails.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from typing import Any

import grpc
from ray import serve
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import RayServeException, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from leyden_server.errors import RequestError, UnavailableError

__all__ = ["RETRY_AFTER_S", "StageHandle"]

RETRY_AFTER_S = 5.0
"""About how long Serve takes to notice a dead replica and to start another."""


class StageHandle:
    """One stage's deployment, as its callers see it.

    Results come by value: under about 1 MB that is faster than the object store, and it is
    what lets a cancel reach a replica that is between two items (Ray Serve 2.60).
    `_by_reference` is an underscore API, so it is used here alone.
    """

    def __init__(self, application: str, deployment: str, stall_timeout_s: float) -> None:
        self.application = application
        self._deployment = deployment
        self._stall_timeout_s = stall_timeout_s
        self._handle: DeploymentHandle | None = None
        self._last_answer_s = 0.0

    async def ready(self) -> Any:
        """Return what the stage says of itself, once it is loaded and warmed up.

        However long that takes: whoever starts the stage watches over it.
        """
        return await self._options(stream=False).ready.remote()

    async def call(self, method: str, *args: object) -> Any:
        """Call a method and return its result.

        Raises:
            UnavailableError: the replica died, or the stage answered nobody for the stall timeout.
            RequestError: what the stage raised.

        """
        response = getattr(self._options(stream=False), method).remote(*args)
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
        asked_s = time.monotonic()
        try:
            while not answer.done():
                # A stage that answers others is busy, not dead: it only has to answer anybody.
                silent_s = time.monotonic() - max(asked_s, self._last_answer_s)
                if silent_s >= self._stall_timeout_s:
                    raise UnavailableError(
                        "STAGE_STALLED",
                        f"{self.application} has answered nobody for {silent_s:.0f} s",
                        RETRY_AFTER_S,
                    )
                await asyncio.wait([answer], timeout=self._stall_timeout_s - silent_s)
            result = answer.result()
        except _DEAD as error:
            raise UnavailableError(
                "STAGE_DIED", f"a replica of {self.application} died", RETRY_AFTER_S
            ) from error
        except RayTaskError as error:
            cause = error.as_instanceof_cause()
            raise (cause.cause if isinstance(cause.cause, RequestError) else cause) from error
        finally:
            answer.cancel()
        self._last_answer_s = time.monotonic()
        return result

    def _options(self, *, stream: bool) -> DeploymentHandle:
        if self._handle is None:
            self._handle = serve.get_deployment_handle(
                self._deployment, self.application, _check_exists=False
            )
        return self._handle.options(stream=stream, _by_reference=False)


# RayActorError covers ActorDiedError and ActorUnavailableError; a by-value call can also
# surface a bare gRPC error or find the replica cancelling what it ran while it went down.
_DEAD = (
    RayActorError,
    grpc.aio.AioRpcError,
    RayServeException,
    RequestCancelledError,
    TaskCancelledError,
)


def _cancel(response: Any) -> None:
    """Cancel a call: outside a Serve request nothing else does; harmless once it is done."""
    try:
        response.cancel()
    except _DEAD:
        # It never reached a replica, which `cancel` raises once more: nothing to cancel.
        return


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
