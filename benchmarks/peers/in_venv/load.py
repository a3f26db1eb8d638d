"""The load generator: a plan in on stdin, a line of JSON out for each thing that was done.

Closed loop: each client asks for its next image when it has the last one. A measurement lasts
until its time is over and all that was asked for has come; its images count over that whole
time, so the end, where clients run out, counts against the server alike for all.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transports import TRANSPORTS, Transport

SUBJECTS = (
    "A serene mountain lake at sunrise",
    "A lighthouse on a cliff at dusk",
    "Rolling green hills under storm clouds",
    "A desert with tall dunes at noon",
    "A snowy forest by moonlight",
)


async def main() -> None:
    """Wait, check, warm up, measure."""
    plan: dict[str, Any] = json.load(sys.stdin)
    transport = TRANSPORTS[plan["transport"]](plan["address"])
    try:
        async with asyncio.timeout(plan["ready_timeout_s"]):
            await transport.wait_until_ready()
        _say(event="ready")
        numbers = itertools.count(plan["first_number"])
        async with asyncio.timeout(plan["drive_timeout_s"]):
            if plan["pictures"]:
                await _pictures(transport, plan)
            for clients in plan["clients"]:
                limit = (plan["seconds"], plan["requests"])
                measured = await _measure(transport, clients, limit, numbers)
                _say(event="measured", **measured)
            if plan["arrivals"]:
                _say(event="arrived", **await _arrive(transport, plan["arrivals"], numbers))
    finally:
        await transport.close()


async def _pictures(transport: Transport, plan: dict[str, Any]) -> None:
    """Keep one picture made alone and some made among many others; this is the warm-up too."""
    folder = Path(plan["pictures_folder"])

    async def keep(prompt: str, seed: int, name: str) -> None:
        (folder / f"{name}-{seed}.png").write_bytes(await transport.generate(prompt, seed))

    await keep(*plan["pictures"][0], "alone")
    numbers = itertools.count()
    strangers = [
        transport.generate(prompt_of(number), number)
        for number in itertools.islice(numbers, plan["strangers"])
    ]
    await asyncio.gather(
        *strangers, *(keep(prompt, seed, "among-others") for prompt, seed in plan["pictures"])
    )
    _say(event="warm")


async def _measure(
    transport: Transport, clients: int, limit: tuple[float, int], numbers: Iterator[int]
) -> dict[str, Any]:
    """Let each client ask until so many seconds are over and so many images were asked for."""
    seconds, requests = limit
    latencies_s: list[float] = []
    ended_s: list[float] = []
    sizes: list[int] = []
    started = time.perf_counter()

    async def client() -> None:
        while True:
            number = next(numbers)
            asked = time.perf_counter()
            sizes.append(len(await transport.generate(prompt_of(number), number)))
            now = time.perf_counter()
            latencies_s.append(now - asked)
            ended_s.append(now - started)
            if now - started > seconds and len(sizes) >= requests:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return {
        "clients": clients,
        "elapsed_s": time.perf_counter() - started,
        "latencies_s": latencies_s,
        "ended_s": ended_s,
        "mean_size_bytes": sum(sizes) / len(sizes),
    }


async def _arrive(
    transport: Transport, arrivals: list[float], numbers: Iterator[int]
) -> dict[str, list[float]]:
    """Ask for an image at each of the arrivals, however many are under way."""
    latencies_s: list[float] = []
    ended_s: list[float] = []
    started = time.perf_counter()

    async def ask(number: int, due: float) -> None:
        await transport.generate(prompt_of(number), number)
        ended_s.append(time.perf_counter() - started)
        latencies_s.append(ended_s[-1] - due)

    async with asyncio.TaskGroup() as group:
        for due in arrivals:
            await asyncio.sleep(due - (time.perf_counter() - started))
            group.create_task(ask(next(numbers), due))
    return {"latencies_s": latencies_s, "ended_s": ended_s}


def prompt_of(number: int) -> str:
    """Return a prompt like no other number's."""
    return f"{SUBJECTS[number % len(SUBJECTS)]}, soft light, take {number}"


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
