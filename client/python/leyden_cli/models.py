"""`leyden models`: which models a server has, and what one of them accepts."""

import argparse
import dataclasses
import json
import shutil
import sys
import textwrap

from leyden_cli.arguments import Subparsers, add_server_argument, positive_seconds
from leyden_cli.connection import client_of
from leyden_cli.printable import printable
from leyden_client.models import Model, ModelState

_DEFAULT_TIMEOUT_S = 30.0
_PIPE_WIDTH = 200
_LABEL_WIDTH = 12

_EPILOG = """\
examples:
  leyden models
  leyden models leyden-tiny-base --json
  leyden models load leyden-tiny-base        load it in the server that runs
  leyden models unload leyden-tiny-base      and give its memory back
  leyden models pull sdxl-lightning-4step    fetch a model's files; pull --help says more
  leyden models check my.safetensors         say what a file is; check --help says more
"""


def add_command(subparsers: Subparsers) -> None:
    """Add `models` to the command line."""
    parser = subparsers.add_parser(
        "models",
        help="list the models of a server, or describe one",
        description="List the models of a server, or describe one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="describe this model (default: list all)"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON: one object for NAME, else one line for each model",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        default=_DEFAULT_TIMEOUT_S,
        help="give up after so many seconds (default: %(default)g)",
    )
    add_server_argument(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    with client_of(args) as client:
        if args.name is None:
            found = client.list_models(timeout_s=args.timeout)
        else:
            found = (client.get_model(args.name, timeout_s=args.timeout),)
    if args.json:
        for model in found:
            print(json.dumps(dataclasses.asdict(model)))
    elif args.name is None:
        _print_table(found)
    else:
        _print_details(found[0])
    return 0


def _print_table(models: tuple[Model, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "state", "steps", "guidance", "size", "licence", "default", box=None)
    for column in table.columns:
        column.no_wrap = True
    for model in models:
        table.add_row(
            model.name,
            _state(model),
            *(_limits(model) if _limits_are_known(model) else ("-", "-", "-")),
            model.license,
            "*" if model.is_default else "",
        )
    # Names and licences are text: nothing in them is rich's markup. A pipe has
    # no width that a table should be cut to.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def _print_details(model: Model) -> None:
    known = _limits_are_known(model)
    rows = {
        "name": model.name + (" (the default)" if model.is_default else ""),
        "description": model.description,
        "state": _state(model),
        "unavailable": model.unavailable_reason,
        "revision": model.revision,
        "licence": model.license,
        "size": f"{model.default_width_px} x {model.default_height_px} px; each side "
        f"{_range(model.min_size_px, model.max_size_px)}, multiples of {model.size_multiple_px}"
        if known
        else "",
        "steps": f"{model.default_num_inference_steps}; "
        f"{_range(model.min_num_inference_steps, model.max_num_inference_steps)}"
        if known
        else "",
        "guidance": f"{model.default_guidance_scale:g}; "
        f"{_range(model.min_guidance_scale, model.max_guidance_scale)}"
        if known
        else "",
        "solvers": ", ".join(model.solvers),
        "formats": ", ".join(model.output_formats),
        "images": f"at most {model.max_image_count} in a request",
        "prompt": f"cut at {model.max_prompt_tokens} tokens" if model.max_prompt_tokens else "",
        "previews": "yes" if model.previews else "no",
        "words": ", ".join(model.known_words),
    }
    for label, text in rows.items():
        if text:
            print(_wrapped(f"{label:<{_LABEL_WIDTH}} {printable(text)}"))


def _wrapped(line: str) -> str:
    """Break a long line under its own text; a pipe has no width to break at."""
    if not sys.stdout.isatty():
        return line
    columns = shutil.get_terminal_size().columns
    return textwrap.fill(line, columns, subsequent_indent=" " * (_LABEL_WIDTH + 1))


def _state(model: Model) -> str:
    """Tell a model that has only to be loaded from one whose files are to be fetched first."""
    if model.state is ModelState.UNAVAILABLE:
        return "not loaded" if model.files_present else "not fetched"
    return model.state.value


def _limits_are_known(model: Model) -> bool:
    """Whether the server could read what the model accepts; if not, the limits are zero."""
    return model.max_num_inference_steps > 0


def _limits(model: Model) -> tuple[str, str, str]:
    return (
        _range(model.min_num_inference_steps, model.max_num_inference_steps),
        _range(model.min_guidance_scale, model.max_guidance_scale),
        f"{model.default_width_px} x {model.default_height_px}",
    )


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
