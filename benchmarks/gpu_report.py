"""Everything that is measured on a GPU, in one run of minutes, in one JSON.

The kernels' own tests; the stages (`gpu.py`: UNet steps of 1, 4 and 8 rows, VAE decodes), of
another checkout too where --before names one; the server beside its peers (`gpu_peers.py`); and
FP8, where the card has it. Each part has its own time; one that fails or runs out of it is in the
JSON by name, with what it had measured until then, and the next one starts; what cannot run here
is named too. Beside what was measured stands what is asked of one H100. Ctrl-C stops the part that
runs, with all that it started.

    benchmarks/gpu_report.sh --json benchmarks/results/gpu-report-NAME-DATE.json
    benchmarks/gpu_report.sh --tiny                        the same on a CPU, with a tiny model

It needs no network. The Python that runs it (PYTHON=…) must have torch for the card, diffusers,
transformers, and the three distributions with their dependencies (`make install`, or this checkout
and wheels of what the machine lacks); pytest, pytest-asyncio and pytest-timeout for the kernels'
tests; a C compiler and Python's headers for Triton's kernels. Triton's server takes part where
--triton-python names a Python with nvidia-pytriton.
"""

import argparse
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run by its path
    sys.path.insert(0, str(ROOT))

from benchmarks.on_gpu.asked_figures import compared  # noqa: E402 - found by the line above
from benchmarks.on_gpu.outcomes import read_outcomes  # noqa: E402
from benchmarks.on_gpu.parts import Part, run_part  # noqa: E402

REPORT_S = 470.0
"""Of the whole report: under 8 minutes, with what is needed to end."""

LIMITS_S = {
    "kernels": 60.0,
    "stages": 100.0,
    "fp8": 45.0,
    "stages before": 60.0,
    "peers": 300.0,
}
"""In their order; the last has what the others leave. What it would do last is what may go."""

SKIPPED_WITHOUT_GPU = re.compile(r"needs a CUDA device")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts, print, write; 1 where one failed or ran out of time, 130 on Ctrl-C."""
    asked = _parse(arguments)
    # SIGTERM ends it as Ctrl-C does: the part that runs stops. A shell that starts this in the
    # background has it ignore SIGINT, and so would the parts.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    started_s = time.monotonic()
    report: dict[str, Any] = {
        "machine": {"system": platform.platform(), "cpu_cores": os.cpu_count()},
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "asked": {key: str(value) for key, value in vars(asked).items() if value is not None},
        "parts": {},
        "figures": [],
        "complete": False,
    }

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started_s:5.0f} s] {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="leyden-gpu-report-") as folder:
        for part in _parts(asked, Path(folder)):
            left_s = asked.minutes * 60 - (time.monotonic() - started_s)
            try:
                report["parts"][part.name] = run_part(part, left_s=left_s, say=say)
            except KeyboardInterrupt:
                report["parts"][part.name] = {"state": "interrupted"}
                _write(asked.json, report)
                say("interrupted")
                return 130
            report["figures"] = compared(_results(report))
            _write(asked.json, report)
    report["complete"] = True
    report["took_s"] = round(time.monotonic() - started_s, 1)
    _write(asked.json, report)
    _print(report)
    states = {part["state"] for part in report["parts"].values()}
    return 0 if states <= {"done", "not run"} else 1


def _parts(asked: argparse.Namespace, folder: Path) -> list[Part]:
    def part(name: str, script: str, *options: str, checkout: Path = ROOT) -> Part:
        file = folder / f"{name.replace(' ', '-')}.json"
        command = [sys.executable, str(checkout / "benchmarks" / script), "--json", str(file)]
        folders = (checkout / "server", checkout / "client" / "python", checkout)
        path = os.pathsep.join(map(str, folders))
        return Part(
            name,
            [*command, *options],
            asked.slower * LIMITS_S[name],
            file,
            variables={"PYTHONPATH": f"{path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )

    tiny = ["--tiny"] if asked.tiny else []
    graphs = [] if asked.tiny else ["--executions", "cuda_graphs", "--measured", "16"]
    sizes = [] if asked.tiny else ["--sizes", "1024", "512", "--rows", "1", "4", "8"]
    eight = [] if asked.tiny else ["--sizes", "1024", "--rows", "1", "8"]
    triton = ["--triton-python", asked.triton_python] if asked.triton_python else []
    backend = ["--compile-backend", asked.compile_backend]
    fp8 = ["--stages", "denoiser", "--fp8"]
    load = ["--requests", "2", "--arrivals", "4"] if asked.tiny else ["--arrivals", "24"]
    ours = ["--leyden", "in-process"] if asked.tiny else ["--leyden", "in-process", "fp8"]
    parts = [_kernels(asked, folder), part("stages", "gpu.py", *tiny, *graphs, *sizes)]
    parts.append(part("fp8", "gpu.py", *tiny, *graphs, *eight, *fp8))
    if asked.before is not None:
        before = asked.before.resolve()
        parts.append(part("stages before", "gpu.py", *tiny, *graphs, *eight, checkout=before))
    without = ["--without", *asked.without] if asked.without else []
    options = (*tiny, *triton, *backend, *load, *ours, *without)
    parts.append(part("peers", "gpu_peers.py", *options))
    return [one for one in parts if asked.only is None or one.name in asked.only]


def _kernels(asked: argparse.Namespace, folder: Path) -> Part:
    """Return the tests that need a GPU; without one all of them are skipped, and say so."""
    tests = sorted(
        str(file)
        for file in (ROOT / "tests" / "unit").glob("test_*.py")
        if SKIPPED_WITHOUT_GPU.search(file.read_text(encoding="utf-8"))
    )
    file = folder / "kernels.jsonl"
    options = [
        "-q",
        "-rs",
        "-n0",
        "-p",
        "no:cacheprovider",
        "-p",
        "benchmarks.on_gpu.only_gpu_tests",
    ]
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={ROOT}"]
    command += [f"--confcutdir={ROOT}", "-c", str(ROOT / "pyproject.toml")]
    return Part(
        "kernels",
        [*command, f"--outcomes={file}", *tests],
        asked.slower * LIMITS_S["kernels"],
        file,
        read_outcomes,
        progress_on_stdout=True,
    )


def _results(report: dict[str, Any]) -> dict[str, Any]:
    return {name: part["result"] for name, part in report["parts"].items() if "result" in part}


def _print(report: dict[str, Any]) -> None:
    for name, part in report["parts"].items():
        print(f"{name}: {part['state']} {part.get('reason', '')}".rstrip())
    for row in report["figures"]:
        measured = "not measured" if row["measured"] is None else f"{row['measured']:.4g}"
        met = {None: "", True: "met", False: "NOT MET"}[row["met"]]
        print(f"{row['figure']}: asked {row['asked']}, measured {measured} {met}".rstrip())


def _write(file: Path | None, report: dict[str, Any]) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu_report.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny architecture, on a CPU")
    parser.add_argument("--json", type=Path, help="write the report to this file, as it comes")
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="another checkout, whose stages run too"
    )
    parser.add_argument("--only", nargs="+", choices=tuple(LIMITS_S), help="these parts alone")
    parser.add_argument(
        "--without",
        nargs="+",
        metavar="PEER",
        help="peers that are left out: diffusers, 'diffusers compiled' (a minute or two)",
    )
    parser.add_argument(
        "--triton-python", metavar="PYTHON", help="one that has nvidia-pytriton and diffusers"
    )
    parser.add_argument(
        "--compile-backend", default="inductor", help="torch.compile's, of diffusers compiled"
    )
    parser.add_argument(
        "--minutes", type=float, default=REPORT_S / 60, help="of the whole report (%(default).1f)"
    )
    parser.add_argument(
        "--slower", type=float, default=1.0, help="times every part's own limit (1)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
