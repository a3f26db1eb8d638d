"""Makes what `leyden plan` knows of a GPU from what was measured on it.

    .venv/bin/python -m benchmarks.plan_costs write      the costs that the server comes with
    .venv/bin/python -m benchmarks.plan_costs check      whether they are what the results say
    .venv/bin/python -m benchmarks.plan_costs one STAGES.json SERVER.json > costs.json

STAGES.json is what `benchmarks/gpu.py --json` writes, SERVER.json what `benchmarks/gpu_server.py
--json` writes on the same machine. What the Gateway's process takes is no matter of the GPU: it
comes from `python -m benchmarks --only plan_gateway`.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.conditions import REPOSITORY
from leyden_server.sizing.costs import Costs

RESULTS = REPOSITORY / "benchmarks" / "results"
COSTS = REPOSITORY / "server" / "leyden_server" / "sizing" / "costs"

KNOWN = {
    "h100": ("gpu-h100-2026-11-26.json", "gpu-h100-server-2026-11-26.json"),
    "h200": ("gpu-h200-2026-11-28.json", "gpu-h200-server-2026-11-28.json"),
}
GATEWAY = "plan-gateway-2026-11-29.json"
OPERATING = "2026-11-28-operating.json"
LOADING = "2026-11-28-loading.json"

STEPS = 4
"""Of `gpu_server.py`'s requests."""


def main(arguments: list[str]) -> int:
    """Write, check or print."""
    match arguments:
        case ["write"]:
            for gpu in KNOWN:
                (COSTS / f"{gpu}.json").write_text(text_of_known(gpu), encoding="utf-8")
                print(f"written: {COSTS / f'{gpu}.json'}")
            return 0
        case ["check"]:
            old = [
                gpu for gpu in KNOWN if (COSTS / f"{gpu}.json").read_text() != text_of_known(gpu)
            ]
            for gpu in old:
                print(f"{gpu}.json differs from the results: python -m benchmarks.plan_costs write")
            return 1 if old else 0
        case ["one", stages, server]:
            print(text_of(Path(stages), Path(server)), end="")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


def text_of_known(gpu: str) -> str:
    """Return the file of a GPU whose results are kept here."""
    stages, server = KNOWN[gpu]
    return text_of(RESULTS / stages, RESULTS / server)


def text_of(stages_file: Path, server_file: Path) -> str:
    """Return the file of costs of two files of results."""
    stages, server = _json(stages_file), _json(server_file)
    machine = stages["machine"]
    one = next(run for run in server["leyden"] if run["clients"] == 1)
    side = 1024
    text, unet, vae = (
        _runs(stages, "text_encoders", None),
        {size: _runs(stages, "denoiser", size) for size in stages["asked"]["sizes"]},
        {size: _runs(stages, "image_decoder", size) for size in stages["asked"]["sizes"]},
    )
    encode_s = one["of_which_s"]["image_encode"]
    runs_s = (
        text["seconds"][1] + STEPS * unet[side]["seconds"][1] + vae[side]["seconds"][1] + encode_s
    )
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    costs = Costs.model_validate(
        {
            "gpu": machine["gpu"],
            "gpu_memory_gib": machine["gpu_memory_gib"],
            "model": f"{stages['architecture']['name']}'s full size, random weights, "
            f"{stages['asked']['dtype']}, {stages['asked']['executions'][0]}",
            "measured": f"{machine['date'][:10]}, one card, {machine['cpu_cores']} CPU cores, "
            f"driver {machine['nvidia_smi']['driver_version']}, CUDA {machine['cuda']}, {packages}",
            "sources": [stages_file.name, server_file.name, GATEWAY, OPERATING, LOADING],
            "text_encoder": text,
            "denoiser": unet,
            "vae": vae,
            "image_encode_s_per_megapixel": round(encode_s / (side * side / 1e6), 6),
            "between_stages_s": round(one["latency_s"]["median"] - runs_s, 6),
            "start_s": round(server["start_to_ready_s"], 1),
            "host_memory_gib": _host_memory(),
            "gateway": _gateway(),
        }
    )
    return json.dumps(costs.model_dump(), indent=2) + "\n"


def _runs(results: dict[str, Any], stage: str, size_px: int | None) -> dict[str, Any]:
    found = [
        row
        for row in results["rows"]
        if row["stage"] == stage and row.get("size_px") in (None, size_px)
    ]
    return {
        "seconds": {row["rows"]: round(row["wall_ms"]["median"] / 1000, 6) for row in found},
        "memory_gib": {row["rows"]: _memory_gib(results, row) for row in found},
    }


def _memory_gib(results: dict[str, Any], row: dict[str, Any]) -> float:
    """Return what torch reserved for a run.

    What an earlier, larger run has left reserved is not a later one's: of all runs of so many
    rows, or more, the least counts.
    """
    alike = [
        other["peak_memory"]["reserved_gib"]
        for other in results["rows"]
        if other["stage"] == row["stage"]
        and other["rows"] >= row["rows"]
        and (other.get("size_px") or 0) >= (row.get("size_px") or 0)
    ]
    return float(round(min(alike), 3))


def _gateway() -> dict[str, Any]:
    """Return what a Gateway takes, and where that was measured."""
    results = _json(RESULTS / GATEWAY)
    conditions = results["conditions"]
    refused_ms = _json(RESULTS / OPERATING)["sections"]["operating_refusals"]["data"]["refused_ms"]
    slowest_ms = max(statistics.median(times) for times in refused_ms.values())
    return {
        # As long as a refused call takes: of that the Gateway's core is busy at the most.
        "refusal_s": round(slowest_ms / 1000, 7),
        **{
            name: round(seconds, 7)
            for name, seconds in results["sections"]["plan_gateway"]["data"]["costs"].items()
        },
        "measured": f"{conditions['cpu']}, load average {conditions['load_average_before']} before",
    }


def _host_memory() -> dict[str, float]:
    """Return what a stage's process holds at the most as it loads SDXL's weights in bfloat16."""
    processes = _json(RESULTS / LOADING)["sections"]["loading"]["data"]["processes"]
    return {
        stage: round(processes[stage]["loaded_peak_bytes"] / 2**30, 2)
        for stage in ("text_encoder", "denoiser", "vae")
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
