"""Arguments that commands share, and the types of their values."""

import argparse
import math
import os
from collections.abc import Callable
from typing import TypeAlias

from leyden_client.aio import DEFAULT_TARGET

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_server_argument(parser: argparse.ArgumentParser) -> None:
    """Add --server, whose default is LEYDEN_SERVER or the usual local address."""
    parser.add_argument(
        "--server",
        metavar="ADDR",
        default=os.environ.get("LEYDEN_SERVER", DEFAULT_TARGET),
        help="address of the server, host:port (default: LEYDEN_SERVER, else "
        f"{DEFAULT_TARGET}; now %(default)s)",
    )


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not from {low} to {high}")
        return value

    return parse


def number(text: str) -> float:
    """Parse a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def positive_seconds(text: str) -> float:
    """Parse a duration in seconds, above zero."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
