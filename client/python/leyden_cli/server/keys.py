"""`leyden keys`: add, list and remove the API keys of a server."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leyden_server.api_keys.key_file import KeyEntry

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_command"]

EPILOG = """\
examples:
  leyden keys add alice --file keys.yaml --rate 60 --concurrency 4
  leyden keys add ops --file keys.yaml --operator
  leyden keys list --file keys.yaml
  leyden keys remove alice --file keys.yaml

A server whose setting gateway.api_keys (leyden serve --api-keys) names the file reads it again
within two seconds. The file has hashes alone: a key that is lost is gone, so add another.
"""


def add_command(subparsers: "Subparsers") -> None:
    """Add `keys` with its three commands to the command line."""
    keys = subparsers.add_parser(
        "keys",
        help="add, list and remove the API keys of a server",
        description="Add, list and remove API keys in the file that a server reads them from.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_add(commands)
    listing = commands.add_parser(
        "list", help="list the keys", description="List the keys' names and what each may."
    )
    _add_file(listing)
    listing.add_argument("--json", action="store_true", help="print one JSON object a line")
    listing.set_defaults(run=_list)
    remove = commands.add_parser(
        "remove",
        help="remove a key",
        description="Remove a key: its next call is refused. What it has begun goes on.",
    )
    remove.add_argument("name", metavar="NAME", help="the key's name")
    _add_file(remove)
    remove.set_defaults(run=_remove)


def _add_add(commands: "Subparsers") -> None:
    add = commands.add_parser(
        "add",
        help="make a key and print it, once",
        description="Make a key and print it on stdout, once: only its hash is kept. The limits "
        "hold for the whole server; each Gateway has its part of them.",
    )
    add.add_argument("name", metavar="NAME", help="its name, as logs and metrics have it")
    _add_file(add)
    add.add_argument(
        "--rate",
        type=float,
        metavar="N",
        help="images that may be asked for in a minute (default: no limit)",
    )
    add.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="images that are accepted and not done (default: no limit)",
    )
    add.add_argument(
        "--priority",
        type=int,
        metavar="N",
        help="smallest, so most urgent, priority that may be asked for, 1 to 9 (default: 1)",
    )
    add.add_argument(
        "--models", metavar="A,B", help="models that may be used, by their names (default: all)"
    )
    add.add_argument(
        "--operator",
        action="store_true",
        help="may load and unload models, change settings, and look at everything",
    )
    add.set_defaults(run=_add)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file", metavar="FILE", type=Path, required=True, help="the server's file of API keys"
    )


def _add(args: argparse.Namespace) -> int:
    from leyden_server.api_keys.key import new_key
    from leyden_server.api_keys.key_file import KeyEntry, KeyFile, changing
    from leyden_server.errors import ConfigError

    limits = {
        "images_per_minute": args.rate,
        "images_at_once": args.concurrency,
        "most_priority": args.priority,
        "models": args.models and [name.strip() for name in args.models.split(",")],
        "operator": args.operator or None,
    }
    key = new_key()
    try:
        given = {name: value for name, value in limits.items() if value is not None}
        entry = KeyEntry.of(key, args.name, **given)
        with changing(args.file) as file:
            if any(known.name == args.name for known in file.keys):
                return _failed(f"{args.file} has a key {args.name!r} already; remove it first")
            KeyFile(keys=(*file.keys, entry)).write(args.file)
    except ConfigError as error:
        return _failed(str(error))
    print(key)
    print(f"{args.name} is in {args.file}; the key is shown this once", file=sys.stderr)
    return 0


def _list(args: argparse.Namespace) -> int:
    from leyden_server.api_keys.key_file import KeyFile
    from leyden_server.errors import ConfigError

    try:
        file = KeyFile.load(args.file)
    except ConfigError as error:
        return _failed(str(error))
    for entry in file.keys:
        if args.json:
            print(json.dumps(entry.model_dump(mode="json", exclude={"sha256"})))
        else:
            print(f"{entry.name}  ley_{entry.id}_...  {_what_it_may(entry)}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from leyden_server.api_keys.key_file import KeyFile, changing
    from leyden_server.errors import ConfigError

    try:
        with changing(args.file) as file:
            left = tuple(entry for entry in file.keys if entry.name != args.name)
            if len(left) == len(file.keys):
                return _failed(f"{args.file} has no key {args.name!r}")
            KeyFile(keys=left).write(args.file)
    except ConfigError as error:
        return _failed(str(error))
    print(f"{args.name} is removed from {args.file}", file=sys.stderr)
    return 0


def _what_it_may(entry: "KeyEntry") -> str:
    said = [
        entry.images_per_minute and f"{entry.images_per_minute:g} images a minute",
        entry.images_at_once and f"{entry.images_at_once} at once",
        entry.most_priority > 1 and f"priority {entry.most_priority} to 9",
        entry.models and f"models {', '.join(entry.models)}",
        entry.operator and "operator",
        entry.created and f"made {entry.created}",
    ]
    return ", ".join(str(word) for word in said if word)


def _failed(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 1
