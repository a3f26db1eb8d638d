"""Clients that ask for one image after another, and what each of them lived through."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from types import TracebackType
from typing import Any, Self

from grpc import StatusCode

from leyden_client import AsyncClient
from leyden_client.errors import RpcError

__all__ = ["UNANSWERED", "Asked", "Load", "Seen"]

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "leyden.v1.ImageGenerationService"},
}
_BALANCED = (("grpc.service_config", json.dumps(_SERVICE_CONFIG)),)
"""As docs/kubernetes.md has it for clients that balance themselves."""

UNANSWERED = "UNAVAILABLE before its first event"
"""A connection that breaks while nothing was answered: the SDK tries nothing again then."""

PAUSE_AFTER_FAILURE_S = 0.5
"""Before whoever was refused asks again."""


@dataclass(frozen=True)
class Asked:
    """One request, to its end."""

    begun_s: float
    ended_s: float
    error: str
    """Code and reason; empty: there is an image."""
    calls: int
    """Of gRPC that the SDK made of it; one, unless it went on after a break."""
    stage_retries: int
    """How often the server ran a stage of it again."""


@dataclass(frozen=True)
class Seen:
    """What clients saw over a time."""

    requests: int
    failures: Counter[str]
    taken_up: int
    """Requests that the SDK went on with after their connection broke."""
    run_again: int
    """Requests of which the server ran a stage again."""
    longest_gap_s: float
    """Without any image at any client."""
    median_s: float
    slowest_s: float

    def __str__(self) -> str:
        failed = ", ".join(f"{count} x {error}" for error, count in self.failures.items())
        return (
            f"{self.requests} requests, {self.failures.total()} failed{failed and f' ({failed})'}, "
            f"{self.taken_up} taken up again by the SDK, {self.run_again} run again by the server, "
            f"longest time without an image {self.longest_gap_s:.1f} s, "
            f"median {self.median_s:.1f} s, slowest {self.slowest_s:.1f} s"
        )


@dataclass
class Load:
    """So many clients, each with a connection of its own; the addresses are theirs in turn."""

    addresses: Sequence[str]
    clients: int
    model: str
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def succeeded_since(self, moment_s: float) -> int:
        """Return how many requests that were begun after a moment have got their image."""
        return sum(not one.error and one.begun_s >= moment_s for one in list(self.asked))

    def seen(self, from_s: float, to_s: float) -> Seen:
        """Return what those requests saw that ended in a time."""
        asked = sorted(
            (one for one in list(self.asked) if from_s <= one.ended_s < to_s),
            key=lambda one: one.ended_s,
        )
        ends = [from_s, *(one.ended_s for one in asked if not one.error), to_s]
        took = [one.ended_s - one.begun_s for one in asked] or [0.0]
        return Seen(
            requests=len(asked),
            failures=Counter(one.error for one in asked if one.error),
            taken_up=sum(one.calls > 1 for one in asked),
            run_again=sum(one.stage_retries > 0 for one in asked),
            longest_gap_s=max(after - before for before, after in pairwise(ends)),
            median_s=median(took),
            slowest_s=max(took),
        )

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(self._client(number)) for number in range(self.clients)]
        await loop.run_in_executor(None, self._stop.wait)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _client(self, number: int) -> None:
        turn = number % len(self.addresses)
        ordered = [*self.addresses[turn:], *self.addresses[:turn]]
        target = f"ipv4:{','.join(ordered)}"
        async with AsyncClient(target, channel_options=_BALANCED) as client:
            calls = _Counted(client)
            seed = number * 1_000_000
            while True:
                calls.made, error, retries = 0, "", 0
                begun_s = time.monotonic()
                try:
                    generation = await client.generate_image(
                        "a lake at dawn", model=self.model, seed=seed
                    )
                    retries = generation.summary.retries
                except RpcError as failure:
                    error = f"{failure.code.name} {failure.reason}".strip()
                    if calls.made == 1 and failure.code is StatusCode.UNAVAILABLE:
                        error = error if failure.reason else UNANSWERED
                self.asked.append(Asked(begun_s, time.monotonic(), error, calls.made, retries))
                if error:
                    await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
                else:
                    seed += 1


class _Counted:
    """Counts the calls that a client makes of generations."""

    def __init__(self, client: AsyncClient) -> None:
        self.made = 0
        stub: Any = client._images
        for name in ("GenerateImage", "WatchGeneration"):
            setattr(stub, name, self._counting(getattr(stub, name)))

    def _counting(self, method: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.made += 1
            return method(*arguments, **options)

        return call
