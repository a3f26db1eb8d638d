"""Loads a server from plain code: connections that stay open, and samples by the load."""

import asyncio
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from leyden_client import AsyncClient
from leyden_client.bench import Limit, Sample, Workload, closed_loop, open_loop

__all__ = ["Loader", "steady_images_per_s"]


class Loader:
    """Connections to a server; a context manager for as long as they are open."""

    def __init__(self, address: str, workload: Workload, *, connections: int = 1) -> None:
        self._address = address
        self._connections = connections
        self._requests = workload.requests()
        self._runner = asyncio.Runner()
        self._clients: list[AsyncClient] = []

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

    def closed(self, clients: int, requests: int) -> list[Sample]:
        """Run a closed loop; raise RuntimeError where a request fails."""
        turns = [self._clients[i % self._connections] for i in range(clients)]
        samples: list[Sample] = []
        self._runner.run(
            closed_loop(turns, self._requests, Limit(requests=requests), samples.append)
        )
        return _all_ok(samples)

    def open(self, arrivals: Iterable[float]) -> list[Sample]:
        """Run an open loop with these arrivals (seconds); raise as `closed` does."""
        samples: list[Sample] = []
        self._runner.run(
            open_loop(self._clients, self._requests, arrivals, Limit(), samples.append)
        )
        return _all_ok(samples)

    async def _connect(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._clients = [
            AsyncClient(self._address, channel_options=options) for _ in range(self._connections)
        ]

    async def _close(self) -> None:
        for client in self._clients:
            await client.close()


def steady_images_per_s(samples: Iterable[Sample], clients: int) -> float:
    """Return a closed loop's rate without its beginning and its end.

    Counted between the moments at which the first `clients` requests have ended and at which
    all but the last `clients` have: in between every client has a request under way.
    """
    ordered = sorted(samples, key=lambda sample: sample.ended_s)
    inner = ordered[clients - 1 : len(ordered) - clients]
    if len(inner) < 2:
        inner = ordered
    span_s = inner[-1].ended_s - inner[0].ended_s
    return sum(sample.images for sample in inner[1:]) / span_s


def _all_ok(samples: list[Sample]) -> list[Sample]:
    failed = next(_failures(samples), None)
    if failed is not None:
        raise RuntimeError(f"a request failed: {failed.code} {failed.reason}")
    return samples


def _failures(samples: list[Sample]) -> Iterator[Sample]:
    return (sample for sample in samples if not sample.ok)
