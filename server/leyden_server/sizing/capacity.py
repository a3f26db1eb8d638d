"""What the measured times alone say: what a replica can do, before anything is simulated."""

import math
from collections.abc import Mapping

from leyden_server.config import GatewayConfig
from leyden_server.sizing.costs import Costs
from leyden_server.sizing.design import STAGES, Design, Replicas, largest_batches
from leyden_server.sizing.goal import Goal
from leyden_server.sizing.images import Kind

__all__ = ["first_design", "gateway_s", "most_busy", "stage_seconds"]

FIRST_BUSY = 0.95
"""How busy the stages of the first design that is simulated may be: more never lasts."""

TEXT_BUSY = 0.4
"""How busy a text encoder may be at the most where a VAE beside it leaves it half of the card: it
has no more to give at a half."""

TARGET_RATE = 0.8
"""Of the images a second that a replica can make, at which Serve is to start another one."""

GATEWAY_BUSY = 0.5
"""How busy a Gateway's core is to be at the most: what waits for it waits at every event."""

LINE_USED = 0.5
"""How much of what may wait at a Gateway, or be open there, is there where images take as long as
they may."""


def stage_seconds(costs: Costs, kinds: tuple[Kind, ...]) -> dict[str, float]:
    """Return what an image takes of a replica of each stage, in full batches."""
    batches = largest_batches(costs)
    total = sum(kind.share for kind in kinds)
    seconds = dict.fromkeys(STAGES, 0.0)
    for kind in kinds:
        share = kind.share / total
        prompts = batches["text_encoder"]
        a_prompt_s = costs.text_encoder.run_s(prompts) / prompts
        seconds["text_encoder"] += share * kind.prompts * a_prompt_s
        step = costs.denoiser[kind.size_px]
        rows = max(step.row_times(batches["denoiser"]).cap // kind.rows * kind.rows, kind.rows)
        seconds["denoiser"] += share * kind.steps * kind.rows * step.run_s(rows) / rows
        decode = costs.vae[kind.size_px]
        images = decode.good_rows(batches["vae"])
        seconds["vae"] += share * decode.run_s(images) / images
    return seconds


def gateway_s(costs: Costs, kinds: tuple[Kind, ...]) -> float:
    """Return the CPU time that a request takes of a Gateway."""
    total = sum(kind.share for kind in kinds)
    steps = sum(kind.share * kind.steps for kind in kinds) / total
    return costs.gateway.request_s + steps * costs.gateway.step_s


def first_design(goal: Goal, costs: Costs) -> Design:
    """Return the smallest design that might do, by the arithmetic alone."""
    rest = replicas_for(goal, costs, goal.rate_per_s)
    most = replicas_for(goal, costs, goal.rate_per_s * goal.burst_factor)
    gateways = gateways_for(goal, costs)
    room = images_of_a_gateway(goal, gateways)
    defaults = GatewayConfig()
    return Design(
        replicas={stage: Replicas(rest[stage], max(rest[stage], most[stage])) for stage in STAGES},
        gateways=gateways,
        max_waiting_images=max(defaults.max_waiting_images, room),
        max_open_images=max(defaults.max_open_images, room),
        together=goal.together,
        gpus_per_node=goal.gpus_per_node,
        target_ongoing=targets(goal, costs),
        max_batch=largest_batches(costs),
    )


def replicas_for(goal: Goal, costs: Costs, rate_per_s: float) -> dict[str, int]:
    """Return the fewest replicas of each stage that can do a rate."""
    seconds = stage_seconds(costs, goal.kinds)
    if goal.together:
        cards = math.ceil(rate_per_s * sum(seconds.values()) / FIRST_BUSY)
        return dict.fromkeys(STAGES, cards)
    # The text encoders take their time of the VAEs' cards.
    seconds["vae"] += seconds["text_encoder"]
    most = {"text_encoder": TEXT_BUSY, "denoiser": FIRST_BUSY, "vae": FIRST_BUSY}
    counts = {stage: math.ceil(rate_per_s * seconds[stage] / most[stage]) for stage in STAGES}
    return {**counts, "vae": max(counts["vae"], counts["text_encoder"])}


def gateways_for(goal: Goal, costs: Costs) -> int:
    """Return how many Gateways a goal takes."""
    return max(1, math.ceil(goal.rate_per_s * gateway_s(costs, goal.kinds) / GATEWAY_BUSY))


def images_of_a_gateway(goal: Goal, gateways: int) -> int:
    """Return for how many images a Gateway is to have room, or what is in time is refused."""
    return math.ceil(goal.rate_per_s * goal.p95_s / gateways / LINE_USED)


def most_busy(busy: Mapping[str, float], *, together: bool) -> str:
    """Return the stage that holds the others up."""
    if together:
        return "denoiser"
    if busy["text_encoder"] > TEXT_BUSY:
        return "text_encoder"
    return "denoiser" if busy["denoiser"] >= busy["vae"] + busy["text_encoder"] else "vae"


def targets(goal: Goal, costs: Costs) -> dict[str, float]:
    """Return how many images Serve is to aim at for each replica of a stage.

    By Little's law, what a replica holds that makes `TARGET_RATE` of the images that it can while
    none of them waits. With more as a target a fleet that is large enough looks too large to
    Serve, which takes replicas away until images wait, and then starts more than it needs.
    """
    seconds = stage_seconds(costs, goal.kinds)
    most = {"text_encoder": TEXT_BUSY, "denoiser": TARGET_RATE, "vae": TARGET_RATE}
    total, alone_s = sum(kind.share for kind in goal.kinds), dict.fromkeys(STAGES, 0.0)
    for kind in goal.kinds:
        share, side = kind.share / total, kind.size_px
        file_s = costs.image_encode_s_per_megapixel * side**2 / 1e6
        step_s = costs.denoiser[side].run_s(kind.rows)
        alone_s["text_encoder"] += share * costs.text_encoder.run_s(kind.prompts)
        alone_s["denoiser"] += share * kind.steps * step_s
        alone_s["vae"] += share * (costs.vae[side].run_s(1) + file_s)
    return {stage: round(most[stage] / seconds[stage] * alone_s[stage], 2) for stage in STAGES}
