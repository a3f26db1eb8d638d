"""What the runs come to: a table for people, JSON with the conditions for the record."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.conditions import conditions as machine_conditions
from benchmarks.peers.measure import Run

__all__ = ["conditions", "lead", "summary", "table"]

Summary = dict[str, Any]

PNG_NOTE = "PNG: peers by Pillow as it comes, Leyden by its own encoder"


def summary(runs: Sequence[Run]) -> Summary:
    """Sum up the passes of one contestant, with one setting, on one model.

    `images_per_s` is, for each number of clients, the images over the time of all passes, and
    `images_per_s_of_passes` each pass by itself, which shows the noise.
    """
    by_clients: dict[int, list[dict[str, Any]]] = {}
    for run in runs:
        for load in run.loads:
            by_clients.setdefault(load["clients"], []).append(load)
    figures: Summary = {
        "setting": runs[0].setting,
        "start_to_ready_s": statistics.median(run.start_to_ready_s for run in runs),
        "pss_gb": max(run.pss_gb for run in runs),
        "max_pixel_difference": {
            name: max(run.max_pixel_difference[name] for run in runs)
            for name in runs[0].max_pixel_difference
        },
        "clients": {},
    }
    for clients, loads in sorted(by_clients.items()):
        latencies_s = [latency for load in loads for latency in load["latencies_s"]]
        figures["clients"][clients] = {
            "images": len(latencies_s),
            "latency_p50_ms": 1000 * statistics.median(latencies_s),
            "latency_p95_ms": 1000 * percentile(latencies_s, 95),
            "images_per_s": len(latencies_s) / sum(load["elapsed_s"] for load in loads),
            "images_per_s_of_passes": [
                len(load["latencies_s"]) / load["elapsed_s"] for load in loads
            ],
            "mean_size_bytes": statistics.mean(load["mean_size_bytes"] for load in loads),
        }
    return figures


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1]


def lead(figures: dict[str, Summary], clients: int) -> tuple[float, str] | None:
    """Return Leyden's gain over the best peer, and that peer's name; None without both.

    At 1 client the gain is in p50 latency, at more in images/s. Where several settings were
    measured, each has the best of its own.
    """
    rows = {name: row["clients"].get(clients) for name, row in figures.items()}
    speeds = {
        name: 1 / row["latency_p50_ms"] if clients == 1 else row["images_per_s"]
        for name, row in rows.items()
        if row is not None
    }
    ours = {name for name in speeds if name.partition(":")[0] == "leyden"}
    peers = speeds.keys() - ours
    if not ours or not peers:
        return None
    best = max(peers, key=speeds.__getitem__)
    return max(speeds[name] for name in ours) / speeds[best], best


def table(title: str, figures: dict[str, Summary], clients: Sequence[int]) -> Table:
    """Draw one model's figures."""
    drawn = Table(title=title, title_justify="left", caption_justify="left")
    drawn.caption = f"{PNG_NOTE}. Range: the passes. Pixels: largest difference to diffusers."
    drawn.add_column("server", no_wrap=True)
    for count in clients:
        if count == 1:
            drawn.add_column("1 client: p50 (p95) ms", justify="right")
        else:
            drawn.add_column(f"{count} clients: images/s", justify="right")
    for heading in ("pixels /255", "PNG kB", "PSS GB", "start s"):
        drawn.add_column(heading, justify="right")
    for name, row in figures.items():
        drawn.add_row(
            f"{name.partition(':')[0]}: {row['setting']}",
            *(_cell(count, row["clients"].get(count)) for count in clients),
            str(max(row["max_pixel_difference"].values())),
            f"{row['clients'][clients[0]]['mean_size_bytes'] / 1000:.1f}",
            f"{row['pss_gb']:.1f}",
            f"{row['start_to_ready_s']:.0f}",
        )
    return drawn


def _cell(clients: int, figures: Summary | None) -> str:
    if figures is None:
        return "-"
    if clients == 1:
        return f"{figures['latency_p50_ms']:.0f} ({figures['latency_p95_ms']:.0f})"
    passes = figures["images_per_s_of_passes"]
    spread = f" ({min(passes):.2f}-{max(passes):.2f})" if len(passes) > 1 else ""
    return f"{figures['images_per_s']:.2f}{spread}"


def conditions(versions: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Say where, when and on what, with the versions that each contestant ran with."""
    return {
        **machine_conditions(),
        "work": "4 steps, guidance 0, float32, the model's native size, PNG; every prompt and "
        "seed is new; a closed loop of clients in one process on the same machine",
        "png": PNG_NOTE,
        "versions": versions,
    }
