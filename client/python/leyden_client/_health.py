"""Whether a server serves, by grpc.health.v1."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import grpc.aio
from google.protobuf import empty_pb2, wrappers_pb2

from leyden_client.errors import UnavailableError

TypedErrors: TypeAlias = Callable[[], AbstractContextManager[None]]

# The number in grpc.health.v1.HealthCheckResponse, whose package is not among the client's
# dependencies.
_SERVING = 1
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


class Health:
    """The health service at the other end of a channel."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: tuple[tuple[str, str], ...],
        typed_errors: TypedErrors,
    ) -> None:
        """Take what each call needs; `typed_errors` makes its errors those of this package."""
        self._metadata = metadata
        self._typed_errors = typed_errors
        self._watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            # HealthCheckRequest for the whole server has no field set, and the
            # only field of HealthCheckResponse is an enum numbered 1: on the wire
            # they are these two well-known types.
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=wrappers_pb2.Int32Value.FromString,
        )

    async def wait_until_serving(self, timeout_s: float | None) -> None:
        """Wait for SERVING, through anything that passes; raises as `wait_until_ready`."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            remaining_s = None if deadline is None else max(0.0, deadline - loop.time())
            try:
                if await self._serves(remaining_s):
                    return
            except UnavailableError:
                # The connection, or the server behind a proxy, went while it was
                # watched: it may come back.
                pass
            # Whatever ends watches at once must not be flooded with new ones.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _serves(self, timeout_s: float | None) -> bool:
        """Watch the health until it is SERVING (True), or the server ends the watch (False)."""
        with self._typed_errors():
            call = self._watch(
                empty_pb2.Empty(), timeout=timeout_s, metadata=self._metadata, wait_for_ready=True
            )
            try:
                async for status in call:
                    if status.value == _SERVING:
                        return True
            finally:
                call.cancel()
        return False
