"""`leyden watch` and `leyden cancel`: generations that were started before."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from leyden_cli.arguments import Subparsers, add_server_argument, integer, positive_seconds
from leyden_cli.connection import client_of
from leyden_cli.from_file import INT32_MAX
from leyden_cli.generate_arguments import FORMAT_OF_SUFFIX
from leyden_cli.outputs import STDOUT, Outputs, print_outcome, show_all, warn
from leyden_cli.progress import open_progress
from leyden_client.events import Event, Image

_DEFAULT_CANCEL_TIMEOUT_S = 30.0

_WATCH_EPILOG = """\
examples:
  id=$(leyden generate "a lighthouse at dusk" --detach)
  leyden watch $id -o lighthouse.png

Ctrl-C ends the watching alone; the generation goes on. leyden cancel ends it.
"""


def add_commands(subparsers: Subparsers) -> None:
    """Add `watch` and `cancel` to the command line."""
    watch = subparsers.add_parser(
        "watch",
        help="watch a generation that runs, and write its images",
        description="Watch a generation that runs, or ended and is still kept, from its first "
        "event on: show every step and write its images.",
        epilog=_WATCH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    watch.add_argument(
        "request_id", metavar="ID", help="the generation, as `generate --detach` printed it"
    )
    watch.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="file to write, - for stdout; further images go to FILE with -1, -2, ... before "
        "its extension (default: images are not written)",
    )
    watch.add_argument(
        "--after",
        metavar="N",
        type=integer(0, INT32_MAX),
        help="show only events after the one of this index (default: all)",
    )
    watch.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="stop watching after so many seconds (default: never)",
    )
    watch.add_argument(
        "--json",
        action="store_true",
        help="print each event as one line of JSON on stdout, in place of the progress display",
    )
    add_server_argument(watch)
    watch.set_defaults(run=_watch, usage_error=watch.error)

    cancel = subparsers.add_parser(
        "cancel",
        help="end a generation that runs",
        description="End a generation that runs. One that has ended stays as it is.",
    )
    cancel.add_argument("request_id", metavar="ID", help="the generation's name")
    cancel.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=_DEFAULT_CANCEL_TIMEOUT_S,
        help="give up after so many seconds (default: %(default)g)",
    )
    add_server_argument(cancel)
    cancel.set_defaults(run=_cancel)


def check_stdout_takes_an_image(args: argparse.Namespace) -> None:
    """Exit with wrong usage where `-o -` would put an image among text."""
    usage_error: Callable[[str], NoReturn] = args.usage_error
    if args.output != STDOUT:
        return
    if args.json:
        usage_error("-o - and --json both want stdout")
    if sys.stdout.isatty():
        usage_error("-o - writes an image to stdout, and that is a terminal")


def _watch(args: argparse.Namespace) -> int:
    check_stdout_takes_an_image(args)
    outputs = Outputs(output=args.output, numbers_from=1)
    outputs.check()
    try:
        with (
            client_of(args) as client,
            open_progress(as_json=args.json, image_count=1, terminal=None) as progress,
            closing(client.watch(args.request_id, args.after, timeout_s=args.timeout)) as events,
        ):
            generation = show_all(_judged(events, outputs), progress, outputs)
    except KeyboardInterrupt:
        print("interrupted; the generation goes on", file=sys.stderr)
        return 130
    for warning in generation.summary.warnings:
        warn(f"{warning.message} ({warning.reason})")
    if not args.json:
        print_outcome(generation, outputs)
    return 0


def _judged(events: Iterable[Event], outputs: Outputs) -> Iterator[Event]:
    """Warn of an image that is not written, or is not what the name of its file says."""
    for event in events:
        if isinstance(event, Image) and outputs.output is not None:
            path = outputs.of_image(event.image_index)
            if path is None:
                warn(f"image {event.image_index} is not written: stdout takes one image")
            elif FORMAT_OF_SUFFIX.get(path.suffix.lower(), event.format) is not event.format:
                warn(f"{path} holds a {event.format.value.upper()}, whatever its name says")
        yield event


def _cancel(args: argparse.Namespace) -> int:
    with client_of(args) as client:
        client.cancel(args.request_id, timeout_s=args.timeout)
    print(f"{args.request_id} is cancelled, unless it had ended", file=sys.stderr)
    return 0
