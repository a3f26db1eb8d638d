"""Arguments that commands share, and the types of their values."""

import argparse
import math
import os
from collections.abc import Callable
from typing import TypeAlias

from leyden_cli.command_parser import CommandParser
from leyden_cli.connection import TLS_SCHEME, add_security_arguments
from leyden_client.options import DEFAULT_TARGET

Subparsers: TypeAlias = "argparse._SubParsersAction[CommandParser]"

_DEFAULT_PORT = DEFAULT_TARGET.rpartition(":")[2]
# Names that gRPC resolves itself; all others are HOST or HOST:PORT.
_GRPC_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


def add_server_argument(parser: argparse.ArgumentParser) -> None:
    """Add --server, whose default is LEYDEN_SERVER or the usual local address, and its security.

    `connection.client_of` makes a client of them.
    """
    parser.add_argument(
        "--server",
        metavar="ADDR",
        type=address,
        default=os.environ.get("LEYDEN_SERVER", DEFAULT_TARGET),
        help=f"address of the server, HOST or HOST:PORT, where PORT is {_DEFAULT_PORT} if it is "
        "left out (default: LEYDEN_SERVER, else "
        f"{DEFAULT_TARGET}; now %(default)s)",
    )
    add_security_arguments(parser)


def address(text: str) -> str:
    """Parse the address of a server: HOST[:PORT], or a name that gRPC resolves itself."""
    if text.startswith(_GRPC_SCHEMES):
        return text
    if text.startswith(TLS_SCHEME):
        return TLS_SCHEME + address(text.removeprefix(TLS_SCHEME))
    if "://" in text:
        scheme = text.partition("://")[0]
        raise argparse.ArgumentTypeError(
            f"{text!r} is a URL; gRPC takes HOST:PORT, without {scheme}://"
        )
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"  # an IPv6 address alone
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, _DEFAULT_PORT
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} has no host: it must be HOST or HOST:PORT")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} has a port that is not from 1 to 65535")
    return f"{host}:{port}"


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


def seconds(text: str) -> float:
    """Parse a duration in seconds, zero or above."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def positive_seconds(text: str) -> float:
    """Parse a duration in seconds, above zero."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
