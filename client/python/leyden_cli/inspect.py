"""`leyden inspect`: what made an image file."""

import argparse
import json
import sys
from pathlib import Path

from leyden_cli.arguments import Subparsers
from leyden_cli.printable import printable
from leyden_client._image_file import ImageFile, ImageFileError, read_image_file

_LABELS = {
    "prompt": "prompt",
    "negative_prompt": "negative prompt",
    "model": "model",
    "model_revision": "model revision",
    "seed": "seed",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "solver": "solver",
    "output_quality": "quality",
}
# The file's own size and format stand for them.
_UNLISTED = frozenset({"width_px", "height_px"})

_EPILOG = """\
examples:
  leyden inspect lighthouse.png
  leyden inspect *.webp --json

Make an image again, or change one thing about it:
  leyden generate --from lighthouse.png -o again.png
  leyden generate --from lighthouse.png -o other.png --seed 8
"""


def add_command(subparsers: Subparsers) -> None:
    """Add `inspect` to the command line."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what made an image file",
        description="Show the prompt, seed, model and everything else that made an image, as "
        "its PNG, JPEG or WebP file carries them. No server is asked.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="image to look at")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object for each file, one a line"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    exit_code = 0
    for number, path in enumerate(args.files):
        try:
            file = read_image_file(path)
        except (ImageFileError, OSError) as error:
            # The others are shown all the same.
            print(f"error: {printable(str(error))}", file=sys.stderr)
            exit_code = 1
            continue
        if args.json:
            print(json.dumps(_as_json(path, file)))
        else:
            if number:
                print()
            _print_table(path, file)
    return exit_code


def _as_json(path: Path, file: ImageFile) -> dict[str, object]:
    return {
        "path": str(path),
        "format": file.format.value,
        "width_px": file.width_px,
        "height_px": file.height_px,
        "parameters": dict(file.parameters),
    }


def _print_table(path: Path, file: ImageFile) -> None:
    from rich.console import Console
    from rich.table import Table

    rows = {"file": str(path)}
    for name, label in _LABELS.items():
        value = file.parameters.get(name, "")
        if value != "":
            rows[label] = _shown(value)
    rows["size"] = f"{file.width_px} x {file.height_px} px"
    rows["format"] = file.format.value
    for name in file.parameters.keys() - _LABELS.keys() - _UNLISTED:
        # What a later server adds is shown by its own name.
        rows[name] = _shown(file.parameters[name])
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for label, text in rows.items():
        table.add_row(printable(label), printable(text))
    # As it is: nothing in a prompt is rich's markup. A pipe has no width to fold at.
    width = None if sys.stdout.isatty() else max(map(len, rows.values())) * 2 + 40
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
