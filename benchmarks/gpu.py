"""Times Leyden's stages on the full-size SDXL architecture with random weights, without Ray.

What is timed is the server's own code: the text encoders' PromptEncoder, the DenoiseEngine kept
full of images at different steps, and the VaeDecoder, each in the thread that a stage has. The
time of the models on the device is taken by CUDA events, warm-up left out; every output is
compared with eager float32 on the same weights, and the exit status is 1 where one disagrees.

It needs torch, diffusers, transformers, pydantic, pyyaml and rich, but neither Ray nor gRPC nor
an installed Leyden, downloads nothing, and writes up to 2 GB of temporary files.

    python benchmarks/gpu.py --json benchmarks/results/gpu-NAME-DATE.json
    python benchmarks/gpu.py --tiny                 the same on a CPU, in seconds
    python benchmarks/gpu.py --count                parameters and FLOP alone; needs no GPU
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run by its path
    sys.path.insert(0, str(ROOT))
sys.path.append(str(ROOT / "server"))  # where Leyden is not installed

STAGES = ("text_encoders", "denoiser", "vae")
EXECUTIONS = ("eager", "cuda_graphs", "compile", "compile_cuda_graphs")
FULL_SIZES, FULL_ROWS, FULL_MEASURED = (1024, 512), (1, 2, 4, 8), 40
TINY_SIZES, TINY_ROWS, TINY_MEASURED = (64,), (1, 2), 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 0 where all outputs agree, 1 where not; exit with 130 on Ctrl-C."""
    asked = _parse(arguments)
    # Not before: torch and diffusers take seconds to import, which --help should not.
    measurement = import_module("benchmarks.on_gpu.measurement")
    if asked.count:
        print(json.dumps(measurement.count(asked), indent=2))
        return 0
    said = Console(stderr=True)
    # The engine's warm-up says what it compiled, and how long that took.
    logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=said, show_path=False)])
    logging.getLogger("leyden_server").setLevel(logging.INFO)
    # SIGTERM ends it as Ctrl-C does: the engine stops and the temporary files go.
    signal.signal(signal.SIGTERM, _interrupt_once)
    try:
        figures = measurement.measure(asked, said)
    except KeyboardInterrupt:
        said.print("interrupted; what was measured until then is in the file of --json, if named")
        # The files are gone and the engine has stopped. A plain exit would wait for what the
        # models' thread does now, which may be a compilation of minutes.
        os._exit(130)
    report = import_module("benchmarks.on_gpu.report")
    report.print_report(Console(width=None if sys.stdout.isatty() else 180), figures)
    return 1 if figures["failures"] else 0


def _interrupt_once(*_: object) -> None:
    # `timeout` and `kill` of a whole group send it twice; the second would end the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny architecture, sizes and counts")
    parser.add_argument("--json", type=Path, help="write all figures to this file, as they come")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), help="default: cuda, and cpu with --tiny or --count"
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="default: as the server, bfloat16 on a GPU and float32 on a CPU",
    )
    parser.add_argument(
        "--fp8",
        nargs="?",
        const="chosen",
        choices=("chosen", "all"),
        help="the UNet as denoiser.dtype: fp8 has it, or with all its products in 8-bit floats",
    )
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="default: all"
    )
    parser.add_argument(
        "--executions",
        nargs="+",
        choices=EXECUTIONS,
        help="ways to run the UNet (denoiser.unet_execution); default: all, eager on a CPU. A "
        "compiled UNet takes a minute or two for each size",
    )
    parser.add_argument(
        "--sizes", nargs="+", type=int, help="sides of square images in pixels (1024 512)"
    )
    parser.add_argument("--rows", nargs="+", type=_positive, help="rows of a batch (1 2 4 8)")
    parser.add_argument("--steps", type=_positive, default=4, help="denoise steps of an image (4)")
    parser.add_argument(
        "--measured", type=_positive, help=f"steps or calls behind a figure ({FULL_MEASURED})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights (0)")
    parser.add_argument(
        "--profile", action="store_true", help="also the costliest operators (torch.profiler)"
    )
    parser.add_argument(
        "--compile-backend",
        default="inductor",
        help="torch.compile's backend; `eager` traces and guards but generates no code, where "
        "there is no C++ compiler (inductor)",
    )
    parser.add_argument(
        "--count", action="store_true", help="print parameters and FLOP, and measure nothing"
    )
    asked = parser.parse_args(arguments)
    asked.device = asked.device or ("cpu" if asked.tiny or asked.count else "cuda")
    asked.dtype = asked.dtype or ("float32" if asked.device == "cpu" else "bfloat16")
    asked.executions = asked.executions or list(EXECUTIONS[: 1 if asked.device == "cpu" else None])
    asked.sizes = asked.sizes or list(TINY_SIZES if asked.tiny else FULL_SIZES)
    asked.rows = asked.rows or list(TINY_ROWS if asked.tiny else FULL_ROWS)
    asked.measured = asked.measured or (TINY_MEASURED if asked.tiny else FULL_MEASURED)
    if any(size < 64 or size % 32 for size in asked.sizes):
        parser.error("--sizes: each must be a multiple of 32, from 64 on")
    graphs = [execution for execution in asked.executions if execution.endswith("cuda_graphs")]
    if asked.device == "cpu" and graphs:
        parser.error(f"--executions: {graphs[0]} needs --device cuda")
    if asked.fp8 and asked.dtype != "bfloat16":
        parser.error("--fp8: all else is in bfloat16, on a GPU that multiplies in FP8")
    if asked.device == "cuda" and not import_module("torch").cuda.is_available():
        parser.error("torch finds no CUDA device here; --tiny runs on a CPU")
    return asked


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
