"""What a plan is asked for."""

from dataclasses import dataclass

from leyden_server.sizing.images import Kind

__all__ = ["SCENARIOS", "Goal"]

SCENARIOS = {
    "steady": "requests at the rate, at random, with the replicas that the plan says",
    "bursts": "the rate times a factor, for a while, again and again; Serve scales up",
    "day": "a day's curve from the night's share to the rate and back, in little; Serve scales",
    "node": "the steady rate, and a node is lost",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """A load, and how soon its images are to be there."""

    rate_per_s: float
    """Requests of one image: their mean, and of a day the most."""
    p95_s: float
    """In which 95 of 100 requests are to have their image."""
    kinds: tuple[Kind, ...]
    meet: tuple[str, ...] = ("steady",)
    """Scenarios in which that is to hold; the others are only looked at."""
    together: bool = False
    """Whether the stages share each card, in place of having their own."""
    gpus_per_node: int = 1
    length_s: float = 300.0
    """Of each scenario."""
    burst_factor: float = 2.0
    burst_s: float = 30.0
    burst_every_s: float = 120.0
    night: float = 0.2
    """What is left of the rate at night."""
    day_s: float = 1200.0
    """How long a day is in the simulation."""
    unnoticed_s: float = 15.0
    """For how long a node that is lost is taken to be there."""
    away_s: float = 120.0
    """After how long it, or another one, is there again."""
    seed: int = 0
