"""Many streams at once over raw messages: counts what a Gateway sends and decodes nothing."""

import asyncio
import time
import uuid
from types import TracebackType
from typing import Any, Self

import grpc

from leyden.v1 import image_generation_service_pb2 as pb

__all__ = ["EventLoad"]

METHOD = "/leyden.v1.ImageGenerationService/GenerateImage"
CONNECTIONS = 4


class EventLoad:
    """Connections to a Gateway; a context manager for as long as they are open."""

    def __init__(self, address: str, steps: int) -> None:
        """Take where it listens, and how many steps each generation has."""
        self._address = address
        self._steps = steps
        self._runner = asyncio.Runner()
        self._channels: list[grpc.aio.Channel] = []

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._connect())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.run(self._close())
        self._runner.__exit__(kind, error, traceback)

    def events_per_s(self, streams: int) -> float:
        """Run so many generations at once, to their ends; return the events that came a second."""
        started_s = time.perf_counter()
        events = self._runner.run(self._all(streams))
        return events / (time.perf_counter() - started_s)

    def request_s(self, *, named: bool) -> float:
        """Run one generation, `named` by this client or not; return the seconds until its end."""
        request_id = str(uuid.uuid4()) if named else ""
        started_s = time.perf_counter()
        self._runner.run(self._one(0, request_id))
        return time.perf_counter() - started_s

    async def _all(self, streams: int) -> int:
        return sum(await asyncio.gather(*(self._one(number) for number in range(streams))))

    async def _one(self, number: int, request_id: str = "") -> int:
        request = pb.GenerateImageRequest(
            prompt="a lake", num_inference_steps=self._steps, request_id=request_id
        )
        method = self._channels[number % CONNECTIONS].unary_stream(METHOD, None, None)
        call: Any = method(request.SerializeToString())
        events = 0
        async for _ in call:
            events += 1
        return events

    async def _connect(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [
            grpc.aio.insecure_channel(self._address, options) for _ in range(CONNECTIONS)
        ]

    async def _close(self) -> None:
        for channel in self._channels:
            await channel.close(None)
