"""`leyden plan`'s simulation against the real engine on this machine, under the same requests.

The engine runs without Ray with one torch thread. The simulation is told what the engine's steps
took by their rows, in the mean of that very load, since a machine that others share is now faster
and now slower; which rows share a step, and who waits for whom, is its own. Each load is a round,
with costs of its own. Both take as many rows as pay by their times, the engine by those of before.
"""

import itertools
import statistics
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.engine_load import (
    POLICIES,
    EngineUnderLoad,
    Loop,
    mixed_steps,
)
from benchmarks.section import Figure, Section, Settings
from leyden_client.bench import poisson_arrivals
from leyden_server.config import DEFAULT_MODEL
from leyden_server.model_repository import ModelRepository
from leyden_server.sizing.costs import Costs
from leyden_server.sizing.design import STAGES, Design, Replicas
from leyden_server.sizing.images import Kind
from leyden_server.sizing.outcome import percentile
from leyden_server.sizing.simulation import replay

__all__ = ["measure"]

STEPS = (4, 8)
MOST_ROWS = 8
LOAD = 0.7
"""Of what the engine does one image at a time."""
ASKED = 0.15
"""By how much the simulated times may be off."""
NOTHING: dict[str, Any] = {"seconds": {1: 1e-9, 16: 1e-9}, "memory_gib": {1: 1.0}}


@dataclass(frozen=True, slots=True)
class Round:
    """One load, by the engine and by the simulation; both sorted, in seconds."""

    measured_s: list[float]
    simulated_s: list[float]
    step_s: dict[int, float]

    def ratio(self, share: float) -> float:
        """Return the simulated time that so large a share took at the most, by the measured."""
        return percentile(self.simulated_s, share) / percentile(self.measured_s, share)


def measure(settings: Settings) -> Section:
    """Run the engine and the simulation, load by load."""
    count, requests = settings.pick(5, 1), settings.pick(110, 4)
    model = ModelRepository().resolve(DEFAULT_MODEL)
    side = model.width_px
    rounds: list[Round] = []
    with EngineUnderLoad(model, width_px=side, height_px=side) as engine:
        engine.use(POLICIES["step batching"])
        seconds = _timed_alone(engine, settings)
        engine.go_by(seconds)
        capacity = 1 / (seconds[1] * statistics.fmean(STEPS))
        for number in range(count):
            settings.say(f"plan_agreement: round {number + 1} of {count}")
            arrivals = list(itertools.islice(poisson_arrivals(LOAD * capacity, number), requests))
            steps = mixed_steps(requests, STEPS, number)
            loops = engine.run(arrivals, steps)
            step_s = seconds | _seconds_by_rows(loops)
            latencies_s = _simulated(arrivals, steps, step_s, side)
            rounds.append(Round(sorted(loop.latency_s for loop in loops), latencies_s, step_s))
    return Section(
        conditions={
            "engine": f"{DEFAULT_MODEL}, {side} px, one torch thread, up to {MOST_ROWS} rows",
            "requests": f"Poisson, {LOAD:.0%} of {capacity:.2f}/s, {count} rounds of {requests}",
        },
        figures=[_figure(name, rounds, share) for name, share in (("p50", 0.5), ("p95", 0.95))],
        data={"capacity_per_s": capacity, "rounds": [asdict(one) for one in rounds]},
    )


def _timed_alone(engine: EngineUnderLoad, settings: Settings) -> dict[int, float]:
    """Return what a step takes by its rows where all images have come at once."""
    engine.cap_rows(MOST_ROWS)
    engine.run_one_after_another(STEPS)
    seconds = {}
    for rows in range(1, MOST_ROWS + 1):
        settings.say(f"plan_agreement: what a step of {rows} rows takes")
        seconds[rows] = engine.step_s(rows)
    return seconds


def _simulated(
    arrivals: list[float], steps: list[int], step_s: dict[int, float], side: int
) -> list[float]:
    """Return the simulation's times of these requests, sorted."""
    one = {stage: Replicas(1, 1) for stage in STAGES}
    design = replace(Design(one, gateways=1), max_batch={"denoiser": MOST_ROWS})
    requests = zip(arrivals, [Kind(count, side) for count in steps], strict=True)
    return replay(design, _costs(step_s, side), requests, seed=0).latencies_s


def _seconds_by_rows(loops: list[Loop]) -> dict[int, float]:
    """Return the mean of the steps' times by their rows; a step of several images counts once."""
    runs = {run for loop in loops for run in loop.runs}
    return {
        rows: statistics.fmean(run.duration_s for run in runs if run.batch_rows == rows)
        for rows in {run.batch_rows for run in runs}
    }


def _costs(step_s: dict[int, float], side: int) -> Costs:
    """Return costs where everything but a step takes no time."""
    return Costs.model_validate(
        {
            "gpu": "this CPU",
            "gpu_memory_gib": 1.0,
            "model": DEFAULT_MODEL,
            "measured": "now",
            "text_encoder": NOTHING,
            "denoiser": {side: {"seconds": step_s, "memory_gib": {1: 1.0}}},
            "vae": {side: NOTHING},
            "image_encode_s_per_megapixel": 1e-9,
            "between_stages_s": 0.0,
            "start_s": 1.0,
            "gateway": {
                "request_s": 1e-9,
                "step_s": 0.0,
                "refusal_s": 1e-9,
                "claim_s": 1e-9,
                "measured": "no Gateway",
            },
        }
    )


def _figure(name: str, rounds: list[Round], share: float) -> Figure:
    ratios = sorted(one.ratio(share) for one in rounds)
    ratio = statistics.median(ratios)
    return Figure(
        name=f"{name} of an image's steps, simulated by measured, median of the rounds",
        asked=f"within {ASKED:.0%}",
        measured=f"{ratio:.3f} x ({ratios[0]:.3f} to {ratios[-1]:.3f})",
        met=abs(ratio - 1) <= ASKED,
    )
