"""One client against the in-process diffusers pipeline: same weights, settings, threads.

The two take turns in one run, so that a drift of the machine meets both. The pipeline's
images are encoded as PNG by the server's own encoder, since the server sends files.
"""

import statistics
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.in_process import Pipeline
from benchmarks.load import Loader
from benchmarks.one_second_model import one_second_model
from benchmarks.section import Figure, Section, Settings, TextTable
from benchmarks.server_process import ServerProcess
from leyden_client.bench import Sample, Workload, summarize
from leyden_server.config import DEFAULT_MODEL, ServerConfig
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["measure"]

ASKED = 1.05
STEPS = 4


def measure(settings: Settings) -> Section:
    """Measure the model of about a second, and the embedded one beside it."""
    threads = ServerConfig().denoiser.torch_threads
    torch.set_num_threads(threads)
    with one_second_model(quick=settings.quick) as model:
        repository = ModelRepository([model.base_folder])
        assert repository.resolve(model.name) == model
        with ServerProcess.leyden(
            model.name, DEFAULT_MODEL, repository=model.base_folder
        ) as server:
            slow = _contest(settings, model, server, rounds=(10, 1), requests=(4, 2))
            embedded = ModelRepository().resolve(DEFAULT_MODEL)
            fast = _contest(settings, embedded, server, rounds=(10, 1), requests=(10, 2))
    return Section(
        conditions={
            "server": f"`leyden serve` with both models, default config, {threads} torch thread "
            "each stage; one client, one request at a time, a new prompt each",
            "in process": f"StableDiffusionXLPipeline, {threads} torch thread, float32, PNG by "
            "the server's encoder",
            "requests": f"{STEPS} steps, guidance off, native size",
        },
        figures=[
            Figure(
                name=f"Overhead, random SDXL of {slow['in_process_s']['p50']:.2f} s an image",
                asked=f"served p50 <= {ASKED} x in-process p50",
                measured=_measured(slow),
                met=slow["ratio"] <= ASKED,
            ),
            Figure(
                name=f"Overhead, embedded model of {fast['in_process_s']['p50']:.2f} s an image",
                asked="",
                measured=_measured(fast),
            ),
        ],
        tables=[_table(slow), _table(fast)],
        data={"one_second": slow, "embedded": fast},
    )


def _contest(
    settings: Settings,
    model: ResolvedModel,
    server: ServerProcess,
    *,
    rounds: tuple[int, int],
    requests: tuple[int, int],
) -> dict[str, Any]:
    pipeline = Pipeline(model)
    prompts = (prompt for prompt, _ in Workload(seed=1).requests())
    count = settings.pick(*requests)
    served: list[Sample] = []
    in_process: list[dict[str, float]] = []
    with Loader(server.address, Workload(model=model.name, steps=(STEPS,))) as loader:
        loader.closed(1, 2)
        pipeline.images([next(prompts)], [0], steps=STEPS)
        for number in range(total := settings.pick(*rounds)):
            settings.say(f"overhead, {model.name}: round {number + 1} of {total}")
            served += loader.closed(1, count)
            in_process += [
                pipeline.stage_seconds(next(prompts), seed, steps=STEPS) for seed in range(count)
            ]
    report = summarize(served)
    assert report.latency is not None
    names = in_process[0]
    stages = {name: statistics.median(one[name] for one in in_process) for name in names}
    return {
        "model": model.name,
        "size_px": [model.width_px, model.height_px],
        "ratio": report.latency.p50 / stages["total"],
        "served": asdict(report),
        "in_process_s": {"p50": stages["total"], "all": [one["total"] for one in in_process]},
        "in_process_stages_s": stages,
    }


def _measured(contest: dict[str, Any]) -> str:
    served_s, in_process_s = contest["served"]["latency"]["p50"], contest["in_process_s"]["p50"]
    return (
        f"{contest['ratio']:.3f} x: {1000 * served_s:.0f} and {1000 * in_process_s:.0f} ms, "
        f"{1000 * (served_s - in_process_s):+.0f} ms"
    )


def _table(contest: dict[str, Any]) -> TextTable:
    """Say in which stage the served image's time goes, beside the pipeline's."""
    served, stages = contest["served"], contest["in_process_stages_s"]
    steps_s = STEPS * served["step"]["p50"]
    decode_s, encode_s = served["vae_decode"]["p50"], served["image_encode"]["p50"]
    known_s = served["text_encode"]["p50"] + steps_s + decode_s + encode_s
    rows = {
        "text encode": (stages["text_encode"], served["text_encode"]["p50"]),
        f"UNet, {STEPS} steps": (stages["unet"], steps_s),
        "VAE decode": (stages["vae_decode"], decode_s),
        "image encode, and what is in no stage": (
            stages["rest"],
            served["latency"]["p50"] - known_s + encode_s,
        ),
        "total": (stages["total"], served["latency"]["p50"]),
    }
    return TextTable(
        title=f"Where the time goes, {contest['model']} (p50, ms)",
        columns=("stage", "in process", "served", "difference"),
        rows=tuple(
            (name, *(f"{1000 * value:.1f}" for value in (ours, theirs, theirs - ours)))
            for name, (ours, theirs) in rows.items()
        ),
    )
