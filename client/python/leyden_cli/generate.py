"""`leyden generate`: a prompt in, image files out."""

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from leyden_cli.arguments import Subparsers
from leyden_cli.from_file import Recipe, read_recipe
from leyden_cli.generate_arguments import (
    EPILOG,
    add_arguments,
    check_usage,
    request_options,
)
from leyden_cli.printable import printable
from leyden_cli.progress import open_progress, terminal_of_process
from leyden_cli.terminal.detect import (
    Protocol,
    Terminal,
    ask_terminal,
    forced,
    preview_size_px,
)
from leyden_client._assemble import GenerationCollector
from leyden_client._files import check_writable
from leyden_client.client import Client
from leyden_client.events import DenoiseProgress, Event, Image, Summary


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


@dataclass(frozen=True, slots=True)
class _Files:
    """Where images and previews go."""

    output: Path
    image_count: int
    previews: Path | None

    def of_image(self, image_index: int) -> Path:
        if self.image_count == 1:
            return self.output
        return self.output.with_stem(f"{self.output.stem}-{image_index}")

    def check(self) -> None:
        """Raise the `OSError` that writing would raise, before anything is generated."""
        for image_index in {0, self.image_count - 1}:  # they share a directory
            check_writable(self.of_image(image_index))
        if self.previews is not None:
            self.previews.mkdir(parents=True, exist_ok=True)
            check_writable(self.previews / "image-0-step-1.png")

    def save(self, event: Event) -> Path | None:
        """Write the picture that `event` brings, if any, and return where it is."""
        if isinstance(event, Image):
            path = self.of_image(event.image_index)
            event.save(path)
            return path
        if isinstance(event, DenoiseProgress) and event.preview and self.previews:
            path = self.previews / f"image-{event.image_index}-step-{event.step}.png"
            event.preview.save(path)
            return path
        return None


def _run(args: argparse.Namespace) -> int:
    check_usage(args)
    recipe = Recipe() if args.from_file is None else read_recipe(args.from_file)
    for name in recipe.unknown:
        _warn(f"{args.from_file} has {name}, which this leyden does not know and does not apply")
    prompt = recipe.prompt if args.prompt is None else args.prompt
    terminal = _terminal(args)
    options = request_options(
        args, recipe, terminal_preview_px=preview_size_px(terminal) if terminal else None
    )
    files = _Files(args.output, args.count, args.previews)
    files.check()
    collector = GenerationCollector()
    with (
        Client(args.server) as client,
        open_progress(as_json=args.json, image_count=args.count, terminal=terminal) as progress,
        closing(client.stream_image(prompt or "", timeout_s=args.timeout, **options)) as events,
    ):
        for event in events:
            # At once: what is done stays, whatever becomes of the rest.
            progress.show(event, files.save(event))
            collector.add(event)
    generation = collector.generation()
    _print_warnings(args, recipe, generation.summary)
    if not args.json:
        for image in generation.images:
            path = files.of_image(image.image_index)
            print(
                f"{path}  seed {image.seed}  {image.width_px} x {image.height_px} px  "
                f"{image.size_bytes / 1000:.1f} kB"
            )
        print(_cost(generation.summary))
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
            _warn(f"{warning.message} ({warning.reason})")
    made_by, runs = recipe.model_revision, summary.model_revision
    if made_by and made_by != runs and summary.model == recipe.model:
        _warn(
            f"{args.from_file} was made by {recipe.model} at revision {made_by}, the server has "
            f"{runs or 'one that it does not name'}: the image may differ"
        )


def _warn(message: str) -> None:
    # Parts of it may come out of a file.
    print(f"warning: {printable(message)}", file=sys.stderr)


def _cost(summary: Summary) -> str:
    bill = summary.bill
    # Images are made side by side: their sums would be longer than the whole took.
    denoise_s = max(sum(step.duration_s for step in image.steps) for image in bill.images)
    decode_s = max(image.vae_decode_s + image.image_encode_s for image in bill.images)
    return (
        f"{summary.model} took {bill.total_s:.2f} s "
        f"(queue {bill.queue_s:.2f}, text {bill.text_encode_s:.2f}, "
        f"denoise {denoise_s:.2f}, decode and encode {decode_s:.2f}"
        f"{' for the slowest image' if len(bill.images) > 1 else ''})"
    )
