"""Sends requests, in a closed or an open loop, and notes a Sample of each."""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from leyden_client.aio import AsyncClient
from leyden_client.bench.sample import OK, PROTOCOL_ERROR, Sample
from leyden_client.errors import ProtocolError, RpcError
from leyden_client.events import Bill, DenoiseProgress, Image, Summary
from leyden_client.options import GenerateOptions

Requests = Iterator[tuple[str, GenerateOptions]]
Record = Callable[[Sample], None]

_PAUSE_AFTER_ERROR_S = 0.1
"""So that a closed loop against a server that refuses at once does not only flood it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """When a load sends no more; what has been sent then is waited for."""

    requests: int | None = None
    """After so many requests. None: no such limit."""
    duration_s: float | None = None
    """After so many seconds. None: no such limit."""

    def reached(self, sent: int, elapsed_s: float) -> bool:
        """Whether the next request, due after `elapsed_s`, is one too many."""
        return (self.requests is not None and sent >= self.requests) or (
            self.duration_s is not None and elapsed_s >= self.duration_s
        )


def poisson_arrivals(rate_per_s: float, seed: int) -> Iterator[float]:
    """Yield the times in seconds, from 0 on, of a Poisson process; without end."""
    draw = random.Random(seed)
    return itertools.accumulate(draw.expovariate(rate_per_s) for _ in itertools.count())


async def closed_loop(
    clients: Sequence[AsyncClient],
    requests: Requests,
    limit: Limit,
    record: Record,
    *,
    timeout_s: float | None = None,
) -> None:
    """Let each client send its next request when its last one has ended.

    `record` is called with each sample when its request ends. `timeout_s` is each
    request's deadline. Failed requests are samples too.
    """
    started_s = asyncio.get_running_loop().time()
    sent = itertools.count()

    async def run(client: AsyncClient) -> None:
        while not limit.reached(next(sent), _since(started_s)):
            prompt, options = next(requests)
            sample = await send(
                client,
                prompt,
                options,
                planned_s=_since(started_s),
                started_s=started_s,
                timeout_s=timeout_s,
            )
            record(sample)
            if not sample.ok:
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(run(client))


async def open_loop(
    clients: Sequence[AsyncClient],
    requests: Requests,
    arrivals: Iterable[float],
    limit: Limit,
    record: Record,
    *,
    timeout_s: float | None = None,
) -> None:
    """Send a request at each of the `arrivals` (seconds), however many still run.

    The clients take turns. The rest is as in `closed_loop`.
    """
    started_s = asyncio.get_running_loop().time()

    async def run(
        client: AsyncClient, prompt: str, options: GenerateOptions, planned_s: float
    ) -> None:
        record(
            await send(
                client,
                prompt,
                options,
                planned_s=planned_s,
                started_s=started_s,
                timeout_s=timeout_s,
            )
        )

    async with asyncio.TaskGroup() as tasks:
        for sent, (planned_s, client) in enumerate(
            zip(arrivals, itertools.cycle(clients), strict=False)
        ):
            if limit.reached(sent, planned_s):
                return
            await asyncio.sleep(planned_s - _since(started_s))
            prompt, options = next(requests)
            tasks.create_task(run(client, prompt, options, planned_s))


async def send(
    client: AsyncClient,
    prompt: str,
    options: GenerateOptions,
    *,
    planned_s: float,
    started_s: float,
    timeout_s: float | None = None,
) -> Sample:
    """Send one request and return what came of it; an error of its call is in the sample.

    `started_s` is when the load began, by the event loop's clock; `planned_s` counts from it.
    """
    first_event_s = first_progress_s = None
    code, reason, images = OK, "", 0
    bill: Bill | None = None
    stream = client.stream_image(prompt, timeout_s=timeout_s, **options)
    try:
        async with aclosing(stream) as events:
            async for event in events:
                now_s = _since(started_s)
                if first_event_s is None:
                    first_event_s = now_s
                match event:
                    case DenoiseProgress() if first_progress_s is None:
                        first_progress_s = now_s
                    case Image():
                        images += 1
                    case Summary():
                        bill = event.bill
    except RpcError as error:
        code, reason = error.code.name, error.reason
    except ProtocolError as error:
        code, reason = PROTOCOL_ERROR, str(error)
    return Sample(
        planned_s=planned_s,
        first_event_s=first_event_s,
        first_progress_s=first_progress_s,
        ended_s=_since(started_s),
        images=images,
        num_inference_steps=options.get("num_inference_steps", 0),
        code=code,
        reason=reason,
        bill=bill,
    )


def _since(started_s: float) -> float:
    return asyncio.get_running_loop().time() - started_s
