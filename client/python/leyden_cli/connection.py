"""How a command reaches its server: plaintext or TLS, with an API key or without."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden_client.errors import LeydenError
from leyden_client.security import TlsConfig

if TYPE_CHECKING:
    from leyden_client.aio import AsyncClient
    from leyden_client.client import Client

__all__ = [
    "TLS_SCHEME",
    "ConnectionOptionsError",
    "add_security_arguments",
    "async_client_of",
    "client_of",
]

TLS_SCHEME = "grpcs://"
"""Before an address: with TLS."""

API_KEY_VARIABLE = "LEYDEN_API_KEY"
CA_VARIABLE = "LEYDEN_CA"


class ConnectionOptionsError(LeydenError):
    """What the options say of TLS or of the API key cannot be."""


def add_security_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a server with TLS, or with API keys, asks for."""
    group = parser.add_argument_group("TLS and API keys")
    group.add_argument(
        "--tls",
        action="store_true",
        help=f"speak TLS; {TLS_SCHEME} before the server's address says the same",
    )
    group.add_argument(
        "--ca",
        metavar="FILE",
        type=Path,
        help="speak TLS, and believe the certificates of this PEM file in place of the public ones "
        f"(default: {CA_VARIABLE})",
    )
    group.add_argument(
        "--cert",
        metavar="FILE",
        type=Path,
        help="speak TLS, and show this certificate (PEM) to a server that asks for one",
    )
    group.add_argument("--key", metavar="FILE", type=Path, help="private key (PEM) of --cert")
    group.add_argument(
        "--api-key",
        metavar="KEY",
        help="the API key; everybody on this machine can read it in the list of processes, so "
        f"rather set {API_KEY_VARIABLE} or give --api-key-file",
    )
    group.add_argument(
        "--api-key-file",
        metavar="FILE",
        type=Path,
        help=f"file that holds the API key alone (default: {API_KEY_VARIABLE})",
    )


def client_of(args: argparse.Namespace) -> "Client":
    """Return a client of the server that the options name.

    Raises:
        ConnectionOptionsError: they do not go together, or a file is not what it should be.
        OSError: a file cannot be read.

    """
    from leyden_client.client import Client

    try:
        return Client(_target(args), tls=_tls(args), api_key=_api_key(args))
    except ValueError as error:
        raise ConnectionOptionsError(str(error)) from error


def async_client_of(
    args: argparse.Namespace, channel_options: Sequence[tuple[str, Any]] = ()
) -> "AsyncClient":
    """Return the same for asyncio. Raises what `client_of` does."""
    from leyden_client.aio import AsyncClient

    try:
        return AsyncClient(
            _target(args),
            tls=_tls(args),
            api_key=_api_key(args),
            channel_options=channel_options,
        )
    except ValueError as error:
        raise ConnectionOptionsError(str(error)) from error


def _target(args: argparse.Namespace) -> str:
    server: str = args.server
    return server.removeprefix(TLS_SCHEME)


def _tls(args: argparse.Namespace) -> bool | TlsConfig:
    ca: Path | None = args.ca
    if ca is None and os.environ.get(CA_VARIABLE):
        ca = Path(os.environ[CA_VARIABLE])
    if (args.cert is None) != (args.key is None):
        raise ConnectionOptionsError("--cert and --key are given both, or neither")
    if ca is None and args.cert is None:
        return bool(args.tls) or args.server.startswith(TLS_SCHEME)
    return TlsConfig(ca, args.key, args.cert)


def _api_key(args: argparse.Namespace) -> str | None:
    if args.api_key is not None and args.api_key_file is not None:
        raise ConnectionOptionsError("--api-key and --api-key-file are two ways to say the same")
    if args.api_key_file is not None:
        text: str = args.api_key_file.read_text(encoding="utf-8", errors="replace").strip()
        if not text:
            raise ConnectionOptionsError(f"{args.api_key_file}: holds no API key")
        return text
    key: str | None = args.api_key
    return key or os.environ.get(API_KEY_VARIABLE) or None
