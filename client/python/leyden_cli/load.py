"""`leyden models load` and `leyden models unload`: models that come and go while a server runs."""

import argparse
import dataclasses
import json
import sys

from leyden_cli.arguments import Subparsers, add_server_argument, positive_seconds
from leyden_cli.connection import client_of
from leyden_cli.printable import printable


def add_commands(subparsers: Subparsers) -> None:
    """Add `models load` and `models unload` to the command line."""
    load = subparsers.add_parser(
        "models load",
        help="load a model in a running server, or load it anew",
        description="Load a model of the server's repository beside those that run, and wait until "
        "it is ready. One that is loaded is loaded anew where its files have changed, and takes "
        "over without a request lost.",
        epilog="Ctrl-C ends the waiting alone; the load goes on.",
    )
    load.add_argument("name", metavar="NAME", help="the model, as `leyden models` lists it")
    load.add_argument(
        "--json", action="store_true", help="print the model, once it is ready, as JSON"
    )
    _add_common(load)
    load.set_defaults(run=_load)

    unload = subparsers.add_parser(
        "models unload",
        help="unload a model in a running server",
        description="Refuse new requests of a model at once, let those that run finish, and wait "
        "until what only it needed is gone. It is no error where the model is not loaded.",
        epilog="Ctrl-C ends the waiting alone; the model is unloaded all the same.",
    )
    unload.add_argument("name", metavar="NAME", help="the model, as `leyden models` lists it")
    _add_common(unload)
    unload.set_defaults(run=_unload)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="wait for so many seconds at most (default: for as long as it takes)",
    )
    add_server_argument(parser)


def _load(args: argparse.Namespace) -> int:
    with client_of(args) as client:
        try:
            model = client.load_model(args.name, timeout_s=args.timeout)
        except KeyboardInterrupt:
            print("interrupted; the load goes on", file=sys.stderr)
            return 130
    if args.json:
        print(json.dumps(dataclasses.asdict(model)))
    else:
        print(f"{printable(model.name)} is {model.state.value}: {printable(model.revision)}")
    return 0


def _unload(args: argparse.Namespace) -> int:
    with client_of(args) as client:
        try:
            client.unload_model(args.name, timeout_s=args.timeout)
        except KeyboardInterrupt:
            print("interrupted; the model is unloaded all the same", file=sys.stderr)
            return 130
    print(f"{printable(args.name)} is not loaded")
    return 0
