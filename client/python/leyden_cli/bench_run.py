"""`leyden bench` at work: sends the load and writes down what came of it."""

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NoReturn

from leyden_cli.bench import DEFAULT_DURATION_S, OPEN_LOOP_CONNECTIONS
from leyden_cli.bench_display import open_display, print_report
from leyden_cli.connection import async_client_of
from leyden_client._files import check_writable, write_atomically
from leyden_client._version import __version__
from leyden_client.bench.load import Limit, closed_loop, open_loop, poisson_arrivals
from leyden_client.bench.report import Report, summarize
from leyden_client.bench.sample import Sample
from leyden_client.bench.workload import Workload


def run(args: argparse.Namespace) -> int:
    """Send the load that `args` describe, print the report, and return the exit code."""
    if args.json is not None:
        check_writable(args.json)
    workload = _workload(args)
    duration_s = args.duration
    if args.requests is None and duration_s is None:
        duration_s = DEFAULT_DURATION_S
    limit = Limit(requests=args.requests, duration_s=duration_s)
    samples: list[Sample] = []
    interrupted = False
    try:
        asyncio.run(_load(args, workload, limit, samples))
    except KeyboardInterrupt:
        interrupted = True
    report = summarize(samples)
    if samples:
        print_report(report)
    if args.json is not None:
        conditions = _conditions(args, limit, interrupted=interrupted)
        write_atomically(args.json, _json(conditions, report))
    if interrupted:
        print(f"interrupted after {len(samples)} requests", file=sys.stderr)
        return 130
    return 0 if report.succeeded else 1


async def _load(
    args: argparse.Namespace, workload: Workload, limit: Limit, samples: list[Sample]
) -> None:
    connections = args.connections or (OPEN_LOOP_CONNECTIONS if args.rate else args.clients)
    requests = workload.requests()
    async with AsyncExitStack() as stack:
        clients = [
            # Its own pool, or all channels of a process would share one connection.
            await stack.enter_async_context(
                async_client_of(args, [("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(connections)
        ]
        with open_display(limit, samples) as display:
            for done in range(args.warm_up):
                display.warming_up(done, args.warm_up)
                prompt, options = next(requests)
                # What is wrong with the requests, or the server, is said at once.
                await clients[done % connections].generate_image(
                    prompt, timeout_s=args.timeout, **options
                )
            display.begin()

            def record(sample: Sample) -> None:
                samples.append(sample)
                display.update()

            if args.rate is None:
                turns = [clients[i % connections] for i in range(args.clients)]
                await closed_loop(turns, requests, limit, record, timeout_s=args.timeout)
            else:
                arrivals = poisson_arrivals(args.rate, args.seed)
                await open_loop(clients, requests, arrivals, limit, record, timeout_s=args.timeout)


def _workload(args: argparse.Namespace) -> Workload:
    prompts: Sequence[str] = ()
    if args.prompts is not None:
        lines = args.prompts.read_text(encoding="utf-8").splitlines()
        prompts = [line.strip() for line in lines if line.strip()]
        if not prompts:
            usage_error: Callable[[str], NoReturn] = args.usage_error
            usage_error(f"there is no prompt in {args.prompts}")
    return Workload(
        model=args.model,
        prompts=prompts,
        steps=args.steps,
        width_px=args.width,
        height_px=args.height,
        image_count=args.count,
        guidance_scale=args.guidance,
        output_format=args.format,
        seed=args.seed,
    )


def _conditions(args: argparse.Namespace, limit: Limit, *, interrupted: bool) -> dict[str, Any]:
    return {
        "server": args.server,
        "loop": "closed" if args.rate is None else "open",
        "clients": args.clients if args.rate is None else None,
        "rate_per_s": args.rate,
        "requests": limit.requests,
        "duration_s": limit.duration_s,
        "warm_up": args.warm_up,
        "timeout_s": args.timeout,
        "model": args.model,
        "steps": list(args.steps),
        "width_px": args.width,
        "height_px": args.height,
        "image_count": args.count,
        "guidance_scale": args.guidance,
        "format": args.format,
        "prompts": None if args.prompts is None else str(args.prompts),
        "seed": args.seed,
        "interrupted": interrupted,
        "client_version": __version__,
        "client_machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _json(conditions: dict[str, Any], report: Report) -> bytes:
    text = json.dumps({"conditions": conditions, "report": dataclasses.asdict(report)}, indent=2)
    return f"{text}\n".encode()
