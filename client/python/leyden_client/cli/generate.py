"""`leyden generate`: a prompt in, image files out."""

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from leyden_client._assemble import GenerationCollector
from leyden_client._files import check_writable
from leyden_client.cli.arguments import (
    Subparsers,
    add_server_argument,
    integer,
    number,
    positive_seconds,
)
from leyden_client.cli.connect import connect
from leyden_client.cli.progress import open_progress
from leyden_client.events import DenoiseProgress, Event, Image, Summary
from leyden_client.options import GenerateOptions, OutputFormat, PreviewOptions, Solver

_FORMAT_OF_SUFFIX = {
    ".png": OutputFormat.PNG,
    ".jpg": OutputFormat.JPEG,
    ".jpeg": OutputFormat.JPEG,
    ".webp": OutputFormat.WEBP,
}
_SUFFIX_OF_PREVIEW = {
    OutputFormat.PNG: ".png",
    OutputFormat.JPEG: ".jpg",
    OutputFormat.WEBP: ".webp",
}

_INT32_MAX = 2**31 - 1
_SEED_MAX = 2**53 - 1

_EPILOG = """\
examples:
  leyden generate "a lighthouse at dusk" -o lighthouse.png --seed 7
  leyden generate "a lighthouse at dusk" -o lighthouse.webp --count 4 --previews steps/

The server says which models, sizes, steps and guidance there are: leyden models.
"""


def add_command(subparsers: Subparsers) -> None:
    """Add `generate` to the command line."""
    parser = subparsers.add_parser(
        "generate",
        help="generate images from a prompt",
        description="Generate one or more images from a prompt, and show every step on the way.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what the image should show")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="file to write; with --count above 1, out.png becomes out-0.png, out-1.png, ...",
    )
    _add_image_arguments(parser)
    _add_run_arguments(parser)
    add_server_argument(parser)
    # `error` prints the usage and exits with 2: what argparse cannot check
    # itself ends in the same way.
    parser.set_defaults(run=_run, usage_error=parser.error)


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    image = parser.add_argument_group("the image")
    image.add_argument(
        "--model", metavar="NAME", default="", help="model (default: the server's default model)"
    )
    image.add_argument(
        "--negative",
        metavar="TEXT",
        default="",
        help="what the image should not show; needs guidance above 1 (default: nothing)",
    )
    image.add_argument(
        "--seed",
        metavar="N",
        type=integer(0, _SEED_MAX),
        help="seed of the first image; image i has seed + i (default: drawn by the server)",
    )
    image.add_argument(
        "--steps",
        metavar="N",
        type=integer(1, _INT32_MAX),
        default=0,
        help="number of denoise steps (default: the model's)",
    )
    image.add_argument(
        "--width",
        metavar="PX",
        type=integer(1, _INT32_MAX),
        default=0,
        help="width in pixels (default: the model's native width)",
    )
    image.add_argument(
        "--height",
        metavar="PX",
        type=integer(1, _INT32_MAX),
        default=0,
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
        default=Solver.UNSPECIFIED.value,
        help="rule of a denoise step (default: the model's)",
    )
    image.add_argument(
        "--count",
        metavar="N",
        type=integer(1, _INT32_MAX),
        default=1,
        help="number of images (default: 1)",
    )
    image.add_argument(
        "--format",
        choices=sorted(set(_FORMAT_OF_SUFFIX.values())),
        help=f"encoding (default: by the extension of FILE: {', '.join(_FORMAT_OF_SUFFIX)})",
    )
    image.add_argument(
        "--quality",
        metavar="Q",
        type=integer(1, 100),
        default=0,
        help="quality of a JPEG or WebP, 1 to 100 (default: 90)",
    )


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--previews",
        metavar="DIR",
        type=Path,
        help="write a preview of every step to DIR, made if it is missing, as "
        "image-0-step-1.jpg, ... (default: none)",
    )
    run.add_argument(
        "--preview-size",
        metavar="PX",
        type=integer(1, 1024),
        help="longer side of a preview in pixels, 1 to 1024 (default: an eighth of the image's)",
    )
    run.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="give up after so many seconds (default: never)",
    )
    run.add_argument(
        "--request-id",
        metavar="ID",
        default="",
        help="name of the generation, for the server's log (default: drawn by the server)",
    )
    run.add_argument(
        "--json",
        action="store_true",
        help="print each event as one line of JSON on stdout, in place of the progress display",
    )


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
            check_writable(self.previews / "image-0-step-1.jpg")

    def save(self, event: Event) -> Path | None:
        """Write the picture that `event` brings, if any, and return where it is."""
        if isinstance(event, Image):
            path = self.of_image(event.image_index)
            event.save(path)
            return path
        if isinstance(event, DenoiseProgress) and event.preview and self.previews:
            suffix = _SUFFIX_OF_PREVIEW.get(event.preview.format, ".bin")
            path = self.previews / f"image-{event.image_index}-step-{event.step}{suffix}"
            event.preview.save(path)
            return path
        return None


def _run(args: argparse.Namespace) -> int:
    options = _options(args)
    files = _Files(args.output, args.count, args.previews)
    files.check()
    collector = GenerationCollector()
    with (
        connect(args.server) as client,
        open_progress(as_json=args.json, image_count=args.count) as progress,
        closing(client.stream_image(args.prompt, timeout_s=args.timeout, **options)) as events,
    ):
        for event in events:
            # At once: what is done stays, whatever becomes of the rest.
            progress.show(event, files.save(event))
            collector.add(event)
    generation = collector.generation()
    for warning in generation.summary.warnings:
        print(f"warning: {warning.message} ({warning.reason})", file=sys.stderr)
    if not args.json:
        for image in generation.images:
            path = files.of_image(image.image_index)
            print(
                f"{path}  seed {image.seed}  {image.width_px} x {image.height_px} px  "
                f"{image.size_bytes / 1000:.1f} kB"
            )
        print(_cost(generation.summary))
    return 0


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


def _options(args: argparse.Namespace) -> GenerateOptions:
    usage_error: Callable[[str], NoReturn] = args.usage_error
    if args.preview_size is not None and args.previews is None:
        usage_error("--preview-size needs --previews")
    output_format = args.format or _FORMAT_OF_SUFFIX.get(args.output.suffix.lower())
    if output_format is None:
        usage_error(
            f"the extension of {args.output} is not one of {', '.join(_FORMAT_OF_SUFFIX)}: "
            "say which with --format"
        )
    return GenerateOptions(
        model=args.model,
        negative_prompt=args.negative,
        seed=args.seed,
        width_px=args.width,
        height_px=args.height,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        solver=args.solver,
        image_count=args.count,
        output_format=output_format,
        output_quality=args.quality,
        preview=PreviewOptions(size_px=args.preview_size or 0) if args.previews else None,
        request_id=args.request_id,
    )
