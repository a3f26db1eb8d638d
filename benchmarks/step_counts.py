"""Counts what a UNet step and a VAE decode compute and move at SDXL's full size, without a GPU.

Stock diffusers' modules and Leyden's as a GPU would run them, in bfloat16: the floating point
operations of products, attention and convolutions, and the bytes that every operator and every
Triton kernel reads and writes. It needs Triton (which comes with torch for GPUs on Linux), runs
no kernel, and takes a minute. What follows of it for a card is a bound: each operator as fast as
the card multiplies or as fast as it copies, and nothing kept in a cache from one to the next.

    python benchmarks/step_counts.py --json benchmarks/results/step-counts-DATE.json
    python benchmarks/step_counts.py --tables before=FILE now=FILE     of files; counts nothing
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run by its path
    sys.path.insert(0, str(ROOT))
sys.path.append(str(ROOT / "server"))  # where Leyden is not installed

FULL_SIZE, TINY_SIZE = 1024, 64
ROWS = (1, 8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print the tables, write."""
    asked = _parse(arguments)
    table = import_module("benchmarks.on_gpu.step_table")
    if asked.tables:
        runs = {name: json.loads(file.read_text("utf-8"))["rows"] for name, file in asked.tables}
        print(table.step_tables(runs), end="")
        return 0
    # Not before: torch and diffusers take seconds to import, which --help should not.
    steps = import_module("benchmarks.on_gpu.step_counts")
    architectures = import_module("benchmarks.on_gpu.architecture")
    conditions = import_module("benchmarks.conditions")
    import_module("diffusers").utils.logging.set_verbosity_error()
    architecture = architectures.TINY if asked.tiny else architectures.SDXL
    rows = steps.count_steps(
        architecture,
        TINY_SIZE if asked.tiny else FULL_SIZE,
        ROWS,
        say=lambda what: print(what, file=sys.stderr),
    )
    figures = {
        "what": f"{architecture.name} architecture, bfloat16, counted on tensors without memory",
        "card": {
            "bytes_per_s": steps.H100.bytes_per_s,
            "flop_per_s": {str(dtype): rate for dtype, rate in steps.H100.flop_per_s.items()},
        },
        "commit": conditions.commit(),
        "versions": {name: version(name) for name in ("torch", "triton", "diffusers")},
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "rows": rows,
    }
    print(table.step_tables({"Leyden": rows}), end="")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="step_counts.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny architecture")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--tables",
        nargs="+",
        type=_named_file,
        metavar="NAME=FILE",
        help="print the tables of these files, one column of Leyden's for each",
    )
    return parser.parse_args(arguments)


def _named_file(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not separator or not Path(file).is_file():
        raise argparse.ArgumentTypeError(f"{text}: must be NAME=FILE, of a file that is there")
    return name, Path(file)


if __name__ == "__main__":
    sys.exit(main())
