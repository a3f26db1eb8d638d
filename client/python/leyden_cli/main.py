"""Entry point of the `leyden` command.

A subcommand is a parser whose `run` default takes the parsed arguments and
returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import cast

from leyden_cli import bench, generate, inspect, load, models, top, watch
from leyden_cli.arguments import Subparsers
from leyden_cli.command_parser import CommandParser
from leyden_cli.explain import explain
from leyden_client._version import __version__
from leyden_client.errors import LeydenError

_PLUGINS = "leyden.commands"
"""Group of entry points: functions that add commands. The server's distribution has one."""
_OF_MODELS = ("pull", "check", "load", "unload")
_INSTALL_SERVER = "pip install client/python . (in a clone of Leyden)"

_EPILOG = """\
example:
  leyden generate "a lighthouse at dusk" -o lighthouse.png --seed 7

LEYDEN_SERVER in the environment sets the default of --server.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (None: the process's own) and return its exit code.

    Raises `SystemExit` where argparse does: code 2 for wrong usage, 0 for --help.
    """
    if find_spec("rich") is None:
        print(
            "error: the leyden command needs rich: pip install 'leyden-client[cli]'",
            file=sys.stderr,
        )
        return 1
    server = ""
    try:
        args = build_parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
        server = getattr(args, "server", "")
        run = cast("Callable[[argparse.Namespace], int]", args.run)
        return run(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of stdout has gone. Python flushes stdout once more at exit
        # and must find something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LeydenError as error:
        print(explain(error, server), file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _joined(argv: Sequence[str]) -> list[str]:
    """Make `models pull` and its like the one word that argparse takes for a command."""
    words = list(argv)
    two = words[:1] == ["models"] and words[1:2] in [[word] for word in _OF_MODELS]
    return [" ".join(words[:2]), *words[2:]] if two else words


def build_parser() -> CommandParser:
    """Return the parser of the whole command line."""
    parser = CommandParser(
        prog="leyden",
        description="Generate images with a Leyden server, look at its models, or run one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"leyden {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    generate.add_command(subparsers)
    watch.add_commands(subparsers)
    inspect.add_command(subparsers)
    models.add_command(subparsers)
    load.add_commands(subparsers)
    top.add_command(subparsers)
    bench.add_command(subparsers)
    _add_plugins(subparsers)
    return parser


def _add_plugins(subparsers: Subparsers) -> None:
    # By name: the client's distribution does not depend on the server's.
    for plugin in entry_points(group=_PLUGINS):
        plugin.load()(subparsers)
    # No prefix character: whatever follows `serve` or `models pull` is taken, --help included, so
    # that the answer is always how to get the server.
    for command, does in (
        ("serve", "run a server"),
        ("models pull", "fetch a model's files"),
        ("models check", "say what a model file is"),
    ):
        if command in subparsers.choices:
            continue
        absent = subparsers.add_parser(
            command,
            help=f"{does} (needs: {_INSTALL_SERVER})",
            prefix_chars="\0",
            add_help=False,
        )
        absent.add_argument("arguments", nargs="*")
        absent.set_defaults(run=_say_how_to_install)


def _say_how_to_install(_args: argparse.Namespace) -> int:
    print(
        f"error: the server is not installed; install it with: {_INSTALL_SERVER}", file=sys.stderr
    )
    return 1
