"""Eight clients in a closed loop against the in-process pipeline at its best batch size.

Both may use the whole machine. The pipeline has its best of several batch sizes with one
thread and with one for each core; the server has the best of three configs: the default, a
Denoiser for each core, and an Vae for each core too.
"""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.in_process import Pipeline
from benchmarks.load import Loader, steady_images_per_s
from benchmarks.one_second_model import one_second_model
from benchmarks.section import Figure, Section, Settings, TextTable
from benchmarks.server_process import ServerProcess
from leyden_client.bench import Workload, summarize
from leyden_server.config import DEFAULT_MODEL
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["measure"]

ASKED = 0.90
CLIENTS = 8
STEPS = 4
BATCHES = (1, 2, 4, 8)


def measure(settings: Settings) -> Section:
    """Measure the model of about a second, and the embedded one beside it."""
    with one_second_model(quick=settings.quick) as model:
        slow = _contest(settings, model, model.base_folder, requests=(56, 8), images=(8, 2))
    embedded = ModelRepository().resolve(DEFAULT_MODEL)
    fast = _contest(settings, embedded, None, requests=(300, 8), images=(48, 2))
    return Section(
        conditions={
            "server": f"`leyden serve` with the one model; {CLIENTS} clients in a closed loop, "
            "each with a connection of its own, in a process of their own on the same machine; "
            "rate between the first and the last round of all clients",
            "in process": "StableDiffusionXLPipeline, float32, PNG by the server's encoder, "
            f"batches of {', '.join(map(str, BATCHES))}, with 1 and {os.cpu_count()} threads",
            "requests": f"{STEPS} steps, guidance off, native size",
        },
        figures=[_figure("random SDXL of about 1 s", slow), _figure("embedded model", fast)],
        tables=[_table(slow), _table(fast)],
        data={"one_second": slow, "embedded": fast},
    )


def _contest(
    settings: Settings,
    model: ResolvedModel,
    repository: Path | None,
    *,
    requests: tuple[int, int],
    images: tuple[int, int],
) -> dict[str, Any]:
    in_process = _in_process(settings, model, settings.pick(*images))
    cores = os.cpu_count() or 1
    configs: dict[str, dict[str, Any]] = {"default": {}}
    if cores > 1:
        replicas = {"min_replicas": cores, "max_replicas": cores}
        configs[f"{cores} Denoisers"] = {"denoiser": replicas}
        configs[f"{cores} Denoisers, {cores} ImageDecoders"] = {
            "denoiser": replicas,
            "vae": replicas,
        }
    served: dict[str, Any] = {}
    for name, config in configs.items():
        settings.say(f"efficiency, {model.name}: {CLIENTS} clients, config: {name}")
        with (
            ServerProcess.leyden(model.name, repository=repository, config=config) as server,
            Loader(
                server.address,
                Workload(model=model.name, steps=(STEPS,)),
                connections=CLIENTS,
            ) as loader,
        ):
            loader.closed(CLIENTS, CLIENTS)
            cpu_before_s, before_s = server.cpu_s(), time.perf_counter()
            samples = loader.closed(CLIENTS, settings.pick(*requests))
            cores_used = (server.cpu_s() - cpu_before_s) / (time.perf_counter() - before_s)
        served[name] = {
            "images_per_s": steady_images_per_s(samples, CLIENTS),
            "cores_used": cores_used,
            "report": asdict(summarize(samples)),
        }
    served_rates = {name: of_config["images_per_s"] for name, of_config in served.items()}
    best_served = max(served_rates, key=served_rates.__getitem__)
    best_in_process = max(in_process, key=in_process.__getitem__)
    return {
        "model": model.name,
        "size_px": [model.width_px, model.height_px],
        "ratio": served_rates[best_served] / in_process[best_in_process],
        "best_served": best_served,
        "best_in_process": best_in_process,
        "served": served,
        "in_process_images_per_s": in_process,
    }


def _in_process(settings: Settings, model: ResolvedModel, images: int) -> dict[str, float]:
    """Return images/s by batch size and threads; at least `images` of each."""
    pipeline = Pipeline(model)
    prompts = (prompt for prompt, _ in Workload(seed=1).requests())
    rates: dict[str, float] = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        pipeline.images([next(prompts)], [0], steps=STEPS)
        for batch in BATCHES:
            name = f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
            settings.say(f"efficiency, {model.name}: in process, {name}")
            done, start_s = 0, time.perf_counter()
            while done < images:
                chosen = [next(prompts) for _ in range(batch)]
                pipeline.images(chosen, range(done, done + batch), steps=STEPS)
                done += batch
            rates[name] = done / (time.perf_counter() - start_s)
    return rates


def _figure(name: str, contest: dict[str, Any]) -> Figure:
    served = contest["served"][contest["best_served"]]["images_per_s"]
    in_process = contest["in_process_images_per_s"][contest["best_in_process"]]
    return Figure(
        name=f"Serving efficiency, {name}",
        asked=f"{CLIENTS} clients >= {ASKED:.2f} x the best in-process rate",
        measured=f"{contest['ratio']:.2f} x: {served:.2f} images/s ({contest['best_served']}) "
        f"and {in_process:.2f} ({contest['best_in_process']})",
        met=contest["ratio"] >= ASKED,
    )


def _table(contest: dict[str, Any]) -> TextTable:
    rows = [
        (f"in process, {name}", f"{rate:.3f}", "", "", "")
        for name, rate in contest["in_process_images_per_s"].items()
    ]
    for name, served in contest["served"].items():
        report = served["report"]
        rows.append(
            (
                f"served, {name}",
                f"{served['images_per_s']:.3f}",
                f"{1000 * report['latency']['p50']:.0f}",
                f"{report['mean_batch_rows']:.2f}",
                f"{served['cores_used']:.2f}",
            )
        )
    return TextTable(
        title=f"Rates, {contest['model']}",
        columns=("", "images/s", "p50 ms", "rows a step", "cores used by the server"),
        rows=tuple(rows),
    )
