"""The embedded model on an idle server: start, memory, first event, first progress."""

import statistics
import time
from typing import Any

import torch
import transformers

from benchmarks.load import Loader
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from leyden_client.bench import Sample, Workload, summarize
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import DEFAULT_MODEL
from leyden_server.model_repository import ModelRepository
from leyden_server.text_encoder.encoder import PromptEncoder

__all__ = ["measure"]

START_S = 30.0
PSS_GB = 2.5
FIRST_EVENT_MS = 30.0
PROGRESS_MARGIN_MS = 20.0


def measure(settings: Settings) -> Section:
    """Start the server twice over: once to fill the disk cache, once to be timed."""
    requests = settings.pick(100, 3)
    if not settings.quick:
        settings.say("start: once, so that the files are in the disk cache")
        with ServerProcess.leyden():
            pass
    settings.say("start: timed")
    with ServerProcess.leyden() as server:
        start_s, pss_gb = server.start_to_ready_s, server.pss_bytes() / 1e9
        settings.say(f"start: ready after {start_s:.1f} s; {requests} requests, one at a time")
        with Loader(server.address, Workload()) as loader:
            loader.closed(1, settings.pick(10, 1))
            samples = loader.closed(1, requests)
        pss_after_gb = server.pss_bytes() / 1e9
    encode_ms = _encode_ms(requests)
    report = summarize(samples)
    first_event, first_progress, step = report.first_event, report.first_progress, report.step
    assert first_event is not None
    assert first_progress is not None
    assert step is not None
    allowed_ms = encode_ms + 1000 * step.p50 + PROGRESS_MARGIN_MS
    data: dict[str, Any] = {
        "start_to_ready_s": start_s,
        "pss_gb": pss_gb,
        "pss_after_load_gb": pss_after_gb,
        "first_event_ms": _ms(samples, "first_event_s"),
        "first_progress_ms": _ms(samples, "first_progress_s"),
        "in_process_text_encode_p50_ms": encode_ms,
        "step_p50_ms": 1000 * step.p50,
    }
    return Section(
        conditions={
            "model": f"{DEFAULT_MODEL} at its native size, default config, one client",
            "start": "from the command to its ready line, files in the disk cache",
            "memory": "PSS of all processes, Ray's among them, when ready",
            "requests": f"{requests}, one after another, a new prompt each",
        },
        figures=[
            Figure(
                name="Start to ready",
                asked=f"<= {START_S:.0f} s",
                measured=f"{start_s:.1f} s",
                met=start_s <= START_S,
            ),
            Figure(
                name="PSS",
                asked=f"<= {PSS_GB} GB",
                measured=f"{pss_gb:.2f} GB ready, {pss_after_gb:.2f} GB after {requests} requests",
                met=max(pss_gb, pss_after_gb) <= PSS_GB,
            ),
            Figure(
                name="First event on an idle server",
                asked=f"<= {FIRST_EVENT_MS:.0f} ms",
                measured=f"p50 {1000 * first_event.p50:.1f}, p95 {1000 * first_event.p95:.1f} ms",
                met=1000 * first_event.p95 <= FIRST_EVENT_MS,
            ),
            Figure(
                name="First denoise_progress on an idle server",
                asked=f"<= encode + one step + {PROGRESS_MARGIN_MS:.0f} ms = {encode_ms:.1f} + "
                f"{1000 * step.p50:.1f} + {PROGRESS_MARGIN_MS:.0f} = {allowed_ms:.1f} ms",
                measured=f"p50 {1000 * first_progress.p50:.1f}, "
                f"p95 {1000 * first_progress.p95:.1f} ms",
                met=1000 * first_progress.p50 <= allowed_ms,
            ),
        ],
        notes=[
            "encode: both text encoders in this process, one prompt, one thread, p50; "
            "step: as billed, p50. The verdict on first progress is on p50, on the first "
            "event on p95."
        ],
        data=data,
    )


def _encode_ms(count: int) -> float:
    """Return the p50 of encoding one prompt in this process, as the stage does."""
    transformers.utils.logging.disable_progress_bar()
    model = ModelRepository().resolve(DEFAULT_MODEL)
    thread = TorchThread("text-encoder", 1)
    encoder = thread.run(
        PromptEncoder, model, dtype=torch.float32, device=torch.device("cpu"), replica=""
    )
    thread.run(encoder.encode, ["warm-up"])
    prompts = (prompt for prompt, _ in Workload().requests())
    seconds = []
    for _, prompt in zip(range(count), prompts, strict=False):
        start_s = time.perf_counter()
        thread.run(encoder.encode, [prompt])
        seconds.append(time.perf_counter() - start_s)
    return 1000 * statistics.median(seconds)


def _ms(samples: list[Sample], field: str) -> list[float]:
    return [round(1000 * (getattr(s, field) - s.planned_s), 2) for s in samples]
