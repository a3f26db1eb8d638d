"""The command line of `leyden generate`, and the request that it comes to."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from leyden_cli.arguments import (
    add_server_argument,
    integer,
    number,
    positive_seconds,
    seconds,
)
from leyden_cli.from_file import INT32_MAX, SEED_MAX, Recipe
from leyden_cli.outputs import STDOUT
from leyden_client.options import GenerateOptions, OutputFormat, PreviewOptions, Solver

Value = TypeVar("Value")

FORMAT_OF_SUFFIX = {
    ".png": OutputFormat.PNG,
    ".jpg": OutputFormat.JPEG,
    ".jpeg": OutputFormat.JPEG,
    ".webp": OutputFormat.WEBP,
}
TERMINAL_PREVIEWS = ("auto", "off", "kitty", "iterm2", "sixel", "blocks")

EPILOG = """\
examples:
  leyden generate "a lighthouse at dusk" -o lighthouse.png --seed 7
  leyden generate "a lighthouse at dusk" -o lighthouse.webp --count 4 --previews steps/
  leyden generate --from lighthouse.png -o other.png --seed 8
  leyden generate "a lighthouse at dusk" -o - | display
  leyden generate "a lighthouse at dusk" --detach    then: leyden watch ID -o FILE

The server says which models, sizes, steps and guidance there are: leyden models.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add everything that `generate` takes."""
    parser.add_argument(
        "prompt",
        metavar="PROMPT",
        nargs="?",
        help="what the image should show; needed unless --from gives it",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="file to write, - for stdout; with --count above 1, out.png becomes out-0.png, "
        "out-1.png, ...; needed unless --detach",
    )
    parser.add_argument(
        "--from",
        dest="from_file",
        metavar="FILE",
        type=Path,
        help="make the image of this PNG, JPEG or WebP again; what is given beside it, PROMPT "
        "or an option, takes the place of what the file has",
    )
    _add_image_arguments(parser)
    _add_run_arguments(parser)
    add_server_argument(parser)


# An option that is not given is None, so that --from knows which to fill.
def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    image = parser.add_argument_group("the image")
    image.add_argument(
        "--model", metavar="NAME", help="model (default: the server's default model)"
    )
    image.add_argument(
        "--negative",
        metavar="TEXT",
        help="what the image should not show; needs guidance above 1 (default: nothing)",
    )
    image.add_argument(
        "--seed",
        metavar="N",
        type=integer(0, SEED_MAX),
        help="seed of the first image; image i has seed + i (default: drawn)",
    )
    image.add_argument(
        "--steps",
        metavar="N",
        type=integer(1, INT32_MAX),
        help="number of denoise steps (default: the model's)",
    )
    image.add_argument(
        "--width",
        metavar="PX",
        type=integer(1, INT32_MAX),
        help="width in pixels (default: the model's native width)",
    )
    image.add_argument(
        "--height",
        metavar="PX",
        type=integer(1, INT32_MAX),
        help="height in pixels (default: the model's native height)",
    )
    image.add_argument(
        "--guidance",
        metavar="SCALE",
        type=number,
        help="classifier-free guidance scale; off at or below 1 (default: the model's)",
    )
    image.add_argument(
        "--solver",
        choices=[solver.value for solver in Solver if solver is not Solver.UNSPECIFIED],
        help="rule of a denoise step (default: the model's)",
    )
    image.add_argument(
        "--count",
        metavar="N",
        type=integer(1, INT32_MAX),
        default=1,
        help="number of images (default: 1)",
    )
    image.add_argument(
        "--format",
        choices=sorted(set(FORMAT_OF_SUFFIX.values())),
        help=f"encoding (default: by the extension of FILE: {', '.join(FORMAT_OF_SUFFIX)}; "
        "png without one)",
    )
    image.add_argument(
        "--quality",
        metavar="Q",
        type=integer(1, 100),
        help="quality of a JPEG or WebP, 1 to 100 (default: 90)",
    )


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--previews",
        metavar="DIR",
        type=Path,
        help="write a preview of every step to DIR, made if it is missing, as "
        "image-0-step-1.png, ... (default: none)",
    )
    run.add_argument(
        "--preview-size",
        metavar="PX",
        type=integer(1, 1024),
        help="longer side of those previews in pixels, 1 to 1024 "
        "(default: an eighth of the image's)",
    )
    run.add_argument(
        "--terminal-previews",
        choices=TERMINAL_PREVIEWS,
        default="auto",
        help="draw previews and the image in the terminal, with the graphics of kitty, iTerm2 "
        "or sixel terminals, else with half blocks (default: auto, the best that the terminal "
        "has; nothing where output is not a terminal)",
    )
    run.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="give up after so many seconds; without --linger the server then refuses at once "
        "what it cannot end in time (default: never)",
    )
    run.add_argument(
        "--detach",
        action="store_true",
        help="print the name of the generation on stdout and leave once the server has accepted "
        "it; it goes on for ten minutes at most unless --linger says otherwise",
    )
    run.add_argument(
        "--linger",
        metavar="SECONDS",
        type=seconds,
        help="for how long the generation goes on when the connection breaks, and is come back "
        "to; 0: not at all (default: 15)",
    )
    run.add_argument(
        "--priority",
        metavar="N",
        type=integer(1, 9),
        default=0,
        help="how soon it is served, 1 (first) to 9 (last) (default: 5)",
    )
    run.add_argument(
        "--request-id",
        metavar="ID",
        default="",
        help="name of the generation, for `leyden watch` and the server's log; who knows it may "
        "watch and cancel (default: drawn)",
    )
    run.add_argument(
        "--json",
        action="store_true",
        help="print each event as one line of JSON on stdout, in place of the progress display",
    )


def check_usage(args: argparse.Namespace) -> None:
    """Exit with the usage where arguments do not go together."""
    usage_error: Callable[[str], NoReturn] = args.usage_error
    if args.prompt is None and args.from_file is None:
        usage_error("the following arguments are required: PROMPT (or --from FILE)")
    if args.detach:
        _check_detached(args, usage_error)
    elif args.output is None:
        usage_error("the following arguments are required: -o/--output (or --detach)")
    if args.output == STDOUT and args.count > 1:
        usage_error("-o - takes one image, and --count asks for more")
    if args.preview_size is not None and args.previews is None:
        usage_error("--preview-size needs --previews")


def _check_detached(args: argparse.Namespace, usage_error: Callable[[str], NoReturn]) -> None:
    for option, is_given in (
        ("-o", args.output is not None),
        ("--previews", args.previews is not None),
        ("--json", args.json),
    ):
        if is_given:
            usage_error(f"--detach leaves before there is anything for {option}: see leyden watch")
    if args.linger == 0:
        usage_error("--detach needs a --linger above 0")


def output_format(args: argparse.Namespace, recipe: Recipe) -> OutputFormat:
    """Return the encoding: as asked, by the output's extension, or that of the recipe's file."""
    usage_error: Callable[[str], NoReturn] = args.usage_error
    if args.format:
        return OutputFormat(args.format)
    if args.output is None or args.output == STDOUT:
        return recipe.output_format or OutputFormat.PNG
    chosen = FORMAT_OF_SUFFIX.get(args.output.suffix.lower(), recipe.output_format)
    if chosen is None:
        usage_error(
            f"the extension of {args.output} is not one of {', '.join(FORMAT_OF_SUFFIX)}: "
            "say which with --format"
        )
    return chosen


def request_options(
    args: argparse.Namespace, recipe: Recipe, *, terminal_preview_px: int | None
) -> GenerateOptions:
    """Return the options of the request: what was given, else the recipe's.

    Previews are asked for where --previews or a terminal (`terminal_preview_px`) wants them.
    """
    encoding = output_format(args, recipe)
    # A quality belongs to its format: one for WebP says nothing of a JPEG.
    quality = recipe.output_quality if encoding is recipe.output_format else 0
    preview = None
    if args.previews is not None:
        preview = PreviewOptions(size_px=args.preview_size or 0, format=OutputFormat.PNG)
    elif terminal_preview_px is not None:
        preview = PreviewOptions(size_px=terminal_preview_px, format=OutputFormat.PNG)
    return GenerateOptions(
        model=_given(args.model, recipe.model),
        negative_prompt=_given(args.negative, recipe.negative_prompt),
        seed=_given(args.seed, recipe.seed),
        width_px=_given(args.width, recipe.width_px),
        height_px=_given(args.height, recipe.height_px),
        num_inference_steps=_given(args.steps, recipe.num_inference_steps),
        guidance_scale=_given(args.guidance, recipe.guidance_scale),
        solver=_given(args.solver, recipe.solver),
        image_count=args.count,
        output_format=encoding,
        output_quality=_given(args.quality, quality),
        preview=preview,
        request_id=args.request_id,
        linger_s=args.linger,
        priority=args.priority,
    )


def _given(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value
