"""`leyden top`: what a server does, stage by stage."""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from leyden_cli.arguments import Subparsers, add_server_argument, positive_seconds
from leyden_cli.connection import client_of
from leyden_cli.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from leyden_client.client import Client
    from leyden_client.server_state import ServerState

_DEFAULT_INTERVAL_S = 2.0
_DEFAULT_TIMEOUT_S = 30.0
_PIPE_WIDTH = 200
_BAR_WIDTH = 20

_EPILOG = """\
examples:
  leyden top                  until Ctrl-C
  leyden top --once
  leyden top --once --json

It needs operator rights: an API key that has them, or where the server has no keys, to be on the
server's own machine.
"""


def add_command(subparsers: Subparsers) -> None:
    """Add `top` to the command line."""
    parser = subparsers.add_parser(
        "top",
        help="watch what a server does, stage by stage",
        description="Watch the stages of a server: replicas, what runs and waits, how busy each "
        "is, and which one holds up the others. On a terminal until Ctrl-C; into a pipe, one table "
        "after another.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--once", action="store_true", help="look once")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each look")
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=positive_seconds,
        default=_DEFAULT_INTERVAL_S,
        help="look again after so many seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=_DEFAULT_TIMEOUT_S,
        help="give up where a look takes so many seconds (default: %(default)g)",
    )
    add_server_argument(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    with client_of(args) as client:
        if args.json:
            for state in _looks(client, args):
                print(json.dumps(dataclasses.asdict(state)), flush=True)
        elif args.once or not sys.stdout.isatty():
            _print_tables(client, args)
        else:
            _draw(client, args)
    return 0


def _looks(client: "Client", args: argparse.Namespace) -> Iterator["ServerState"]:
    """Yield what the server does, once or again and again; Ctrl-C ends it between two looks."""
    while True:
        yield client.get_server_state(timeout_s=args.timeout)
        if args.once:
            return
        time.sleep(args.interval)


def _print_tables(client: "Client", args: argparse.Namespace) -> None:
    from rich.console import Console

    # A pipe has no width that a table should be cut to.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    for state in _looks(client, args):
        console.print(_rendered(state))
        sys.stdout.flush()


def _draw(client: "Client", args: argparse.Namespace) -> None:
    """Draw it in the terminal's other screen, which is as it was afterwards."""
    from rich.console import Console
    from rich.live import Live

    console = Console(markup=False, highlight=False, emoji=False)
    first = client.get_server_state(timeout_s=args.timeout)  # an error is said on the usual one
    with Live(_rendered(first), console=console, screen=True, auto_refresh=False) as live:
        try:
            for state in _looks(client, args):
                live.update(_rendered(state), refresh=True)
        except KeyboardInterrupt:
            return  # there is no other way to end it: nothing was interrupted


def _rendered(state: "ServerState") -> "RenderableType":
    """Return the stages, the Gateways, and what holds up the others."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    stages = Table("stage", "models", "replicas", "running", "waiting", "busy", box=None)
    for column in ("replicas", "running", "waiting"):
        next(c for c in stages.columns if c.header == column).justify = "right"
    for stage in state.stages:
        stages.add_row(
            printable(stage.name),
            printable(", ".join(stage.models)),
            f"{stage.running_replicas}/{stage.wanted_replicas}",
            str(stage.running_count),
            str(stage.waiting_count),
            _bar(stage.busy_share),
            style="bold" if stage.name == state.bottleneck else None,
        )
    gateways = Table("gateway", "up", "streams", "waiting", "", box=None)
    for gateway in state.gateways:
        gateways.add_row(
            printable(gateway.replica),
            _duration(gateway.uptime_s),
            str(gateway.open_stream_count),
            str(gateway.waiting_image_count),
            "draining" if gateway.draining else "",
        )
    return Group(stages, Text(), gateways, Text(), Text(printable(state.bottleneck_reason)))


def _bar(share: float | None) -> str:
    if share is None:
        return "-"
    full = round(share * _BAR_WIDTH)
    return f"{share:>4.0%} {'#' * full}{'.' * (_BAR_WIDTH - full)}"


def _duration(seconds: float) -> str:
    """Return it as the two largest of its days, hours, minutes and seconds."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute} min"
    return f"{minutes} min {second} s" if minutes else f"{second} s"
