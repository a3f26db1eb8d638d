"""`leyden bench`: load a running server and print what it did."""

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
from pathlib import Path
from typing import Any, NoReturn

from leyden_cli.arguments import (
    Subparsers,
    add_server_argument,
    integer,
    number,
    positive_seconds,
)
from leyden_client._files import check_writable, write_atomically
from leyden_client._version import __version__
from leyden_client.aio import AsyncClient
from leyden_client.bench.display import open_display, print_report
from leyden_client.bench.load import Limit, closed_loop, open_loop, poisson_arrivals
from leyden_client.bench.report import Report, summarize
from leyden_client.bench.sample import Sample
from leyden_client.bench.workload import Workload
from leyden_client.options import OutputFormat

_INT32_MAX = 2**31 - 1
_MAX_CLIENTS = 4096
_SEED_MAX = 2**52
_DEFAULT_DURATION_S = 30.0
_OPEN_LOOP_CONNECTIONS = 4

_DESCRIPTION = """\
Load a running server and print rates, latencies and what each stage took.

A closed loop (--clients) sends a client's next request when its last one has ended: it shows
how much the server can do. An open loop (--rate) sends requests at random moments (a Poisson
process), however many still run: it shows what users would see. Its latencies count from the
moment at which a request was due, so a wait that the server causes is never left out.
"""

_EPILOG = """\
examples:
  leyden bench --clients 8 --requests 200
  leyden bench --rate 5 --duration 60 --steps 4,8 --json bench.json

Ctrl-C prints what was measured so far. Exit code 1: no request succeeded.
"""


def add_command(subparsers: Subparsers) -> None:
    """Add `bench` to the command line."""
    parser = subparsers.add_parser(
        "bench",
        help="load a running server and measure it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_load_arguments(parser)
    _add_request_arguments(parser)
    add_server_argument(parser)
    parser.add_argument(
        "--address",
        dest="server",
        metavar="ADDR",
        default=argparse.SUPPRESS,
        help="same as --server",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write the figures to FILE, as JSON"
    )
    parser.set_defaults(run=_run, usage_error=parser.error)


def _add_load_arguments(parser: argparse.ArgumentParser) -> None:
    load = parser.add_argument_group("the load")
    kind = load.add_mutually_exclusive_group()
    kind.add_argument(
        "--clients",
        metavar="N",
        type=integer(1, _MAX_CLIENTS),
        default=1,
        help="closed loop with so many clients (default: 1)",
    )
    kind.add_argument(
        "--rate",
        metavar="R",
        type=_positive,
        help="open loop with so many requests a second on average",
    )
    load.add_argument(
        "--requests",
        metavar="N",
        type=integer(1, _INT32_MAX),
        help="send so many requests (default: no limit)",
    )
    load.add_argument(
        "--duration",
        metavar="SECONDS",
        type=positive_seconds,
        help="send for so long, then wait for what runs "
        f"(default: {_DEFAULT_DURATION_S:g}, or no limit with --requests)",
    )
    load.add_argument(
        "--warm-up",
        metavar="N",
        type=integer(0, _INT32_MAX),
        default=2,
        help="requests that are sent before, one after another, and not counted (default: 2)",
    )
    load.add_argument(
        "--connections",
        metavar="N",
        type=integer(1, _MAX_CLIENTS),
        help="connections to the server, which requests take in turns "
        f"(default: one for each client; {_OPEN_LOOP_CONNECTIONS} with --rate)",
    )
    load.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="deadline of each request (default: none)",
    )
    load.add_argument(
        "--seed",
        metavar="N",
        type=integer(0, _SEED_MAX),
        default=0,
        help="decides arrivals, prompts, the steps of each request and the images (default: 0)",
    )


def _add_request_arguments(parser: argparse.ArgumentParser) -> None:
    request = parser.add_argument_group("the requests")
    request.add_argument(
        "--model", metavar="NAME", default="", help="model (default: the server's default model)"
    )
    request.add_argument(
        "--prompts",
        metavar="FILE",
        type=Path,
        help="text file with one prompt a line, taken in turns "
        "(default: made-up prompts, no two alike)",
    )
    request.add_argument(
        "--steps",
        metavar="N[,N...]",
        type=_step_counts,
        default=(0,),
        help="numbers of denoise steps; each request draws one of them (default: the model's)",
    )
    request.add_argument(
        "--width",
        metavar="PX",
        type=integer(1, _INT32_MAX),
        default=0,
        help="width in pixels (default: the model's native width)",
    )
    request.add_argument(
        "--height",
        metavar="PX",
        type=integer(1, _INT32_MAX),
        default=0,
        help="height in pixels (default: the model's native height)",
    )
    request.add_argument(
        "--count",
        metavar="N",
        type=integer(1, _INT32_MAX),
        default=1,
        help="images of each request (default: 1)",
    )
    request.add_argument(
        "--guidance",
        metavar="SCALE",
        type=number,
        help="classifier-free guidance scale (default: the model's)",
    )
    request.add_argument(
        "--format",
        choices=[form.value for form in OutputFormat if form is not OutputFormat.UNSPECIFIED],
        default=OutputFormat.UNSPECIFIED.value,
        help="encoding of the images (default: png)",
    )


def _run(args: argparse.Namespace) -> int:
    if args.json is not None:
        check_writable(args.json)
    workload = _workload(args)
    duration_s = args.duration
    if args.requests is None and duration_s is None:
        duration_s = _DEFAULT_DURATION_S
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
    connections = args.connections or (_OPEN_LOOP_CONNECTIONS if args.rate else args.clients)
    requests = workload.requests()
    async with AsyncExitStack() as stack:
        clients = [
            # Its own pool, or all channels of a process would share one connection.
            await stack.enter_async_context(
                AsyncClient(args.server, channel_options=[("grpc.use_local_subchannel_pool", 1)])
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


def _positive(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _step_counts(text: str) -> tuple[int, ...]:
    return tuple(integer(1, _INT32_MAX)(part) for part in text.split(","))
