"""Split against one process: `leyden serve`, and `leyden serve --in-process`.

Both have the whole machine and one torch thread for each stage; one runs while the other does
not. Split, the Gateway, TextEncoder, Denoiser and Vae are processes, and Ray Serve carries what
goes from one to another; in one process they are threads, and a function call does.
"""

import itertools
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.load import Loader, steady_images_per_s
from benchmarks.one_second_model import one_second_model
from benchmarks.section import Figure, Section, Settings, TextTable
from benchmarks.server_process import ServerProcess
from leyden_client.bench import Sample, Workload, poisson_arrivals, summarize
from leyden_server.config import DEFAULT_MODEL
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["measure"]

CLIENTS = (1, 4, 16)
OPEN_LOOP_LOAD = 0.6
"""Of the lower of the two rates at 16 clients."""
STEPS = 4
EVEN = 0.03
"""Ratios within this of 1 are called even."""


def measure(settings: Settings) -> Section:
    """Measure both servers on the embedded model and on the one of about a second."""
    embedded = ModelRepository().resolve(DEFAULT_MODEL)
    fast = _contest(settings, embedded, None, {1: (50, 2), 4: (120, 4), 16: (240, 4)}, (200, 4))
    with one_second_model(quick=settings.quick) as model:
        folder = model.base_folder
        slow = _contest(settings, model, folder, {1: (8, 2), 4: (20, 4), 16: (48, 4)}, None)
    contests = {"embedded": fast, "one_second": slow}
    return Section(
        conditions={
            "split": "`leyden serve`, default config",
            "in process": "`leyden serve --in-process`, default config",
            "both": "all cores, one torch thread each stage, float32, PNG; the clients in a "
            "process of their own on the same machine; one server at a time",
            "requests": f"{STEPS} steps, guidance off, native size, a new prompt each",
            "open loop": f"Poisson at {OPEN_LOOP_LOAD:.0%} of the lower rate at "
            f"{CLIENTS[-1]} clients, the same arrivals for both",
        },
        figures=[_figure(contest) for contest in contests.values()],
        tables=[
            table for contest in contests.values() for table in (_loads(contest), _stages(contest))
        ],
        data=contests,
    )


SERVERS = {"split": False, "in process": True}
"""By their names: whether they run in one process."""


def _contest(
    settings: Settings,
    model: ResolvedModel,
    folder: Path | None,
    closed: dict[int, tuple[int, int]],
    open_loop: tuple[int, int] | None,
) -> dict[str, Any]:
    loads: dict[str, dict[str, Any]] = {name: {} for name in SERVERS}
    memory_gb: dict[str, float] = {}
    for name, in_process in SERVERS.items():
        with (
            ServerProcess.leyden(model.name, repository=folder, in_process=in_process) as server,
            _loader(server, model) as loader,
        ):
            loader.closed(4, 8)
            for clients, requests in closed.items():
                settings.say(f"split, {model.name}: {name}, {clients} clients")
                loads[name][f"{clients} clients"] = _closed(
                    server, loader, clients, settings.pick(*requests)
                )
            memory_gb[name] = server.pss_bytes() / 1e9
    if open_loop is not None:
        rate = OPEN_LOOP_LOAD * min(
            of_server[f"{CLIENTS[-1]} clients"]["images_per_s"] for of_server in loads.values()
        )
        count = settings.pick(*open_loop)
        arrivals = list(itertools.islice(poisson_arrivals(rate, seed=1), count))
        for name, in_process in SERVERS.items():
            with (
                ServerProcess.leyden(
                    model.name, repository=folder, in_process=in_process
                ) as server,
                _loader(server, model) as loader,
            ):
                loader.closed(4, 8)
                settings.say(f"split, {model.name}: {name}, open loop, {rate:.2f} requests/s")
                samples = loader.open(arrivals)
                loads[name][f"open loop, {rate:.2f}/s"] = _figures(samples, rate, 0.0)
    return {
        "model": model.name,
        "size_px": [model.width_px, model.height_px],
        "pss_gb": memory_gb,
        "loads": loads,
    }


def _loader(server: ServerProcess, model: ResolvedModel) -> Loader:
    workload = Workload(model=model.name, steps=(STEPS,))
    return Loader(server.address, workload, connections=CLIENTS[-1])


def _closed(server: ServerProcess, loader: Loader, clients: int, requests: int) -> dict[str, Any]:
    cpu_s, started_s = server.cpu_s(), time.perf_counter()
    samples = loader.closed(clients, requests)
    cores = (server.cpu_s() - cpu_s) / (time.perf_counter() - started_s)
    return _figures(samples, steady_images_per_s(samples, clients), cores)


def _figures(samples: list[Sample], images_per_s: float, cores: float) -> dict[str, Any]:
    return {
        "images_per_s": images_per_s,
        "cores_used": cores,
        "report": asdict(summarize(samples)),
    }


def _figure(contest: dict[str, Any]) -> Figure:
    split, single = (contest["loads"][name] for name in SERVERS)
    parts = []
    for load in split:
        if "clients" in load:
            ratio = split[load]["images_per_s"] / single[load]["images_per_s"]
            parts.append(f"{load}: {ratio:.2f} x the rate")
        else:
            p95 = [of["report"]["latency"]["p95"] for of in (split[load], single[load])]
            ratio = p95[1] / p95[0]
            parts.append(f"{load}: p95 {1000 * p95[0]:.0f} against {1000 * p95[1]:.0f} ms")
        parts[-1] += f" ({_winner(ratio)})"
    gb = contest["pss_gb"]
    parts.append(f"PSS {gb['split']:.2f} against {gb['in process']:.2f} GB")
    return Figure(
        name=f"Split against one process, {contest['model']}",
        asked="report which wins, when and why",
        measured="; ".join(parts),
    )


def _winner(ratio: float) -> str:
    if abs(ratio - 1) <= EVEN:
        return "even"
    return "split wins" if ratio > 1 else "one process wins"


def _loads(contest: dict[str, Any]) -> TextTable:
    rows = []
    for load in contest["loads"]["split"]:
        for name in SERVERS:
            one = contest["loads"][name][load]
            latency = one["report"]["latency"]
            rows.append(
                (
                    load,
                    name,
                    f"{one['images_per_s']:.2f}",
                    *(f"{1000 * latency[p]:.0f}" for p in ("p50", "p95", "p99")),
                    f"{one['report']['mean_batch_rows']:.2f}",
                    f"{one['cores_used']:.2f}" if one["cores_used"] else "",
                )
            )
    return TextTable(
        title=f"Split against one process, {contest['model']}",
        columns=("load", "server", "images/s", "p50 ms", "p95 ms", "p99 ms", "rows", "cores"),
        rows=tuple(rows),
    )


STAGES = ("queue", "text_encode", "step", "vae_decode", "image_encode")


def _stages(contest: dict[str, Any]) -> TextTable:
    """Say where the time goes: the bills of both servers, and what no stage has."""
    rows = []
    for load in contest["loads"]["split"]:
        for name in SERVERS:
            report = contest["loads"][name][load]["report"]
            means = {stage: 1000 * report[stage]["mean"] for stage in STAGES}
            billed = sum(means.values()) + (STEPS - 1) * means["step"]
            rest = 1000 * report["latency"]["mean"] - billed
            rows.append((load, name, *(f"{value:.1f}" for value in (*means.values(), rest))))
    return TextTable(
        title=f"Where the time goes, {contest['model']} (mean, ms; a step, of {STEPS})",
        columns=("load", "server", "queue", "text", "step", "VAE", "PNG", "in no stage"),
        rows=tuple(rows),
    )
