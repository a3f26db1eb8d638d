"""Decides which products of the UNet's transformer blocks `denoiser.dtype: fp8` computes in FP8.

On a CPU, in a torch form of the same rounding, the embedded teacher and students make pictures in
float32, in bfloat16, and with each product in 8-bit floats and the others in bfloat16. A product
stays in bfloat16 where any model's pictures lose more than the bounds allow; of those that are left
the set is taken that computes the most and passes as one. It prints the tables of docs/fp8.md, and
takes about half an hour of one core, once there is a folder with a data set and a classifier of its
pictures, which takes five minutes:

    .venv/bin/leyden-train --folder runs/fp8 render --count 1500
    .venv/bin/leyden-train --folder runs/fp8 classifier --iterations 70
    .venv/bin/python -m benchmarks.fp8_gate runs/fp8 --json benchmarks/results/fp8-gate-DATE.json
"""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from benchmarks.conditions import conditions
from benchmarks.fp8_gate import choice
from benchmarks.fp8_gate.choice import Choice, choose
from benchmarks.fp8_gate.measures import AXES, DRAWS, RENDERINGS
from benchmarks.fp8_gate.measuring import Measuring
from benchmarks.fp8_gate.report import tables
from benchmarks.fp8_gate.subjects import SUBJECTS, Subject
from leyden_server.denoiser.float8_products import PRODUCTS


def main() -> int:
    """Measure, choose, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fp8_gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="of leyden-train, with data and classifier")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    parser.add_argument("--pictures", type=int, help="of each model, in place of what it has")
    parser.add_argument("--workers", type=int, default=1, help="processes that measure (1)")
    asked = parser.parse_args()
    # Ends as Ctrl-C does: the workers go once they have what they measure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started_s = time.monotonic()
    described = conditions() | {"dtype": "by set", "torch_threads": 1}
    groups = {}
    with Measuring(asked.folder, asked.workers) as measuring:
        for name, group in SUBJECTS.items():
            subjects = [replace(s, pictures=asked.pictures or s.pictures) for s in group]
            groups[name] = _group(subjects, measuring)
            chosen = ", ".join(groups[name]["chosen"]) or "nothing"
            print(f"{name}: {chosen}", file=sys.stderr, flush=True)
    result = {
        "conditions": described,
        "bounds": {
            "frechet_ratio_high": choice.FRECHET_RATIO,
            "psnr_loss_db": choice.PSNR_LOSS_DB,
            "told_apart": choice.TOLD_APART,
        },
        "settings": {"draws": DRAWS, "renderings": RENDERINGS, "main_axes": AXES},
        "classifier": json.loads((asked.folder / "classifier" / "accuracy.json").read_text()),
        "groups": groups,
        "workers": asked.workers,
        "wall_s": round(time.monotonic() - started_s),
    }
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(tables(result))
    return 0


def _group(subjects: list[Subject], measuring: Measuring) -> dict[str, Any]:
    measuring.begin(subjects)
    found = choose(
        PRODUCTS,
        lambda products: measuring.measured(subjects, products),
        lambda products: measuring.begin_with(subjects, products),
    )
    return {
        "subjects": [asdict(subject) | {"name": subject.name} for subject in subjects],
        "bfloat16": measuring.baselines(subjects),
        **_as_json(found),
    }


def _as_json(found: Choice) -> dict[str, Any]:
    return {
        "alone": {
            product: [measured.as_json() for measured in by_subject]
            for product, by_subject in found.alone.items()
        },
        "together": [
            {
                "products": sorted(products),
                "measured": [measured.as_json() for measured in by_subject],
            }
            for products, by_subject in found.together
        ],
        "chosen": sorted(found.chosen),
    }


if __name__ == "__main__":
    sys.exit(main())
