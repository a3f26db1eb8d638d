"""At which rate each part of a design has no more to give, by its measured cost alone."""

from dataclasses import dataclass

from leyden_server.sizing.capacity import gateway_s, stage_seconds
from leyden_server.sizing.plan import Plan

__all__ = ["Limit", "limits_of"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One part's."""

    part: str
    rate_per_s: float
    grows: bool = True
    """Whether more of it helps: a stage's replicas, Gateways. The directory is one process."""


def limits_of(plan: Plan) -> list[Limit]:
    """Return the limits of a plan's replicas at rest, the first to be met first."""
    design, costs = plan.design, plan.costs
    seconds = stage_seconds(costs, plan.goal.kinds)
    replicas = {stage: one.at_rest for stage, one in design.replicas.items()}
    if design.together:
        limits = [Limit("cards", replicas["denoiser"] / sum(seconds.values()))]
    else:
        decoding = seconds["vae"] + seconds["text_encoder"]
        limits = [
            Limit("denoiser", replicas["denoiser"] / seconds["denoiser"]),
            Limit("vae", replicas["vae"] / decoding),
            # Beside a VAE that always runs it has half of a card.
            Limit("text_encoder", replicas["text_encoder"] / (2 * seconds["text_encoder"])),
        ]
    limits.append(Limit("gateway", design.gateways / gateway_s(costs, plan.goal.kinds)))
    if design.gateways > 1:
        limits.append(Limit("directory", 1 / costs.gateway.claim_s, grows=False))
    return sorted(limits, key=lambda limit: limit.rate_per_s)
