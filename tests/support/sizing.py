"""Costs for simulations: invented ones of which theory knows the outcome, and measured ones."""

import itertools
from collections.abc import Mapping
from typing import Any

from leyden_server.sizing.costs import Costs
from leyden_server.sizing.design import STAGES, Design, Replicas

__all__ = ["NOTHING_S", "SIZE_PX", "costs_with", "engine_alone", "fixed"]

NOTHING_S = 1e-9
SIZE_PX = 256


def costs_with(step_s: Mapping[int, float], **others: Any) -> Costs:
    """Return costs of steps by their rows; everything else takes no time unless it is given."""
    nothing = {"seconds": {1: NOTHING_S, 16: NOTHING_S}, "memory_gib": {1: 1.0}}
    return Costs.model_validate(
        {
            "gpu": "a test's",
            "gpu_memory_gib": 1.0,
            "model": "none",
            "measured": "invented",
            "text_encoder": nothing,
            "denoiser": {SIZE_PX: {"seconds": dict(step_s), "memory_gib": {1: 1.0}}},
            "vae": {SIZE_PX: nothing},
            "image_encode_s_per_megapixel": NOTHING_S,
            "between_stages_s": 0.0,
            "start_s": 30.0,
            "gateway": {
                "request_s": NOTHING_S,
                "step_s": 0.0,
                "refusal_s": NOTHING_S,
                "claim_s": NOTHING_S,
                "measured": "invented",
            },
            **others,
        }
    )


def engine_alone(unet_s_by_rows: Mapping[str, float]) -> Costs:
    """Return costs of steps alone; between two measured numbers of rows, in a straight line.

    So it is on a CPU, where rows are not padded.
    """
    measured = sorted((int(rows), seconds) for rows, seconds in unet_s_by_rows.items())
    every: dict[int, float] = {}
    for (low, low_s), (high, high_s) in itertools.pairwise(measured):
        for rows in range(low, high + 1):
            every[rows] = low_s + (high_s - low_s) * (rows - low) / (high - low)
    return costs_with(every)


def fixed(gateways: int = 1, *, together: bool = False, **replicas: int) -> Design:
    """Return a design whose stages have so many replicas, 1 where nothing is said."""
    counts = {stage: replicas.get(stage, 1) for stage in STAGES}
    return Design(
        {stage: Replicas(count, count) for stage, count in counts.items()},
        gateways=gateways,
        together=together,
        max_waiting_images=10**6,
        max_open_images=10**6,
    )
