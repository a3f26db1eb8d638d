"""`leyden bench`: load a running server and print what it did."""

import argparse
from pathlib import Path

from leyden_cli.arguments import (
    Subparsers,
    add_server_argument,
    address,
    integer,
    number,
    positive_seconds,
)
from leyden_client.options import OutputFormat

_INT32_MAX = 2**31 - 1
_MAX_CLIENTS = 4096
_SEED_MAX = 2**52
DEFAULT_DURATION_S = 30.0
OPEN_LOOP_CONNECTIONS = 4

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
        type=address,
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
        f"(default: {DEFAULT_DURATION_S:g}, or no limit with --requests)",
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
        f"(default: one for each client; {OPEN_LOOP_CONNECTIONS} with --rate)",
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
    from leyden_cli.bench_run import run

    return run(args)


def _positive(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _step_counts(text: str) -> tuple[int, ...]:
    return tuple(integer(1, _INT32_MAX)(part) for part in text.split(","))
