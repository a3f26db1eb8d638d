"""`leyden generate`: a prompt in, image files out."""

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from typing import NoReturn

from leyden_cli.arguments import Subparsers
from leyden_cli.connection import client_of
from leyden_cli.from_file import Recipe, read_recipe
from leyden_cli.generate_arguments import (
    EPILOG,
    add_arguments,
    check_usage,
    request_options,
)
from leyden_cli.outputs import Outputs, print_outcome, show_all, warn
from leyden_cli.progress import open_progress, terminal_of_process
from leyden_cli.terminal.detect import (
    Protocol,
    Terminal,
    ask_terminal,
    forced,
    preview_size_px,
)
from leyden_cli.watch import check_stdout_takes_an_image
from leyden_client.events import Summary
from leyden_client.options import GenerateOptions


def add_command(subparsers: Subparsers) -> None:
    """Add `generate` to the command line."""
    parser = subparsers.add_parser(
        "generate",
        help="generate images from a prompt",
        description="Generate one or more images from a prompt, and show every step on the way.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    # `error` prints the usage and exits with 2: what argparse cannot check
    # itself ends in the same way.
    parser.set_defaults(run=_run, usage_error=parser.error)


def _run(args: argparse.Namespace) -> int:
    check_usage(args)
    check_stdout_takes_an_image(args)
    recipe = Recipe() if args.from_file is None else read_recipe(args.from_file)
    for name in recipe.unknown:
        warn(f"{args.from_file} has {name}, which this leyden does not know and does not apply")
    prompt = recipe.prompt if args.prompt is None else args.prompt
    if args.detach:
        return _detach(args, prompt or "", request_options(args, recipe, terminal_preview_px=None))
    terminal = _terminal(args)
    options = request_options(
        args, recipe, terminal_preview_px=preview_size_px(terminal) if terminal else None
    )
    return _generate(args, recipe, prompt or "", options, terminal)


def _generate(
    args: argparse.Namespace,
    recipe: Recipe,
    prompt: str,
    options: GenerateOptions,
    terminal: Terminal | None,
) -> int:
    outputs = Outputs(
        output=args.output,
        numbers_from=0 if args.count > 1 else 1,
        image_count=args.count,
        previews=args.previews,
    )
    outputs.check()
    with (
        client_of(args) as client,
        open_progress(as_json=args.json, image_count=args.count, terminal=terminal) as progress,
        closing(client.stream_image(prompt, timeout_s=args.timeout, **options)) as events,
    ):
        generation = show_all(events, progress, outputs)
    _print_warnings(args, recipe, generation.summary)
    if not args.json:
        print_outcome(generation, outputs)
    return 0


def _detach(args: argparse.Namespace, prompt: str, options: GenerateOptions) -> int:
    with client_of(args) as client:
        request_id = client.start_image(prompt, timeout_s=args.timeout, **options)
    print(request_id)
    return 0


def _terminal(args: argparse.Namespace) -> Terminal | None:
    """Return the terminal that previews are drawn in, if they are."""
    choice: str = args.terminal_previews
    usage_error: Callable[[str], NoReturn] = args.usage_error
    if choice == "off":
        return None
    drawable = not args.json and sys.stdout.isatty() and sys.stderr.isatty()
    if choice == "auto":
        return terminal_of_process() if drawable else None
    if not drawable:
        usage_error(
            f"--terminal-previews {choice} needs stdout and stderr to be a terminal, and no --json"
        )
    return forced(Protocol(choice), ask_terminal)


def _print_warnings(args: argparse.Namespace, recipe: Recipe, summary: Summary) -> None:
    for warning in summary.warnings:
        asked = args.previews is not None or args.terminal_previews != "auto"
        if warning.reason != "PREVIEW_UNSUPPORTED" or asked:
            warn(f"{warning.message} ({warning.reason})")
    made_by, runs = recipe.model_revision, summary.model_revision
    if made_by and made_by != runs and summary.model == recipe.model:
        warn(
            f"{args.from_file} was made by {recipe.model} at revision {made_by}, the server has "
            f"{runs or 'one that it does not name'}: the image may differ"
        )
