"""What the server does now: each stage of each model, each Gateway, and what holds them up."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.served_model import ServedModel
from leyden_server.stages.contract import StageLife, StageReport

__all__ = [
    "Bottleneck",
    "GatewayReport",
    "ServerState",
    "StageKind",
    "StageState",
    "bottleneck",
    "server_state",
]

StageKind = Literal["text_encoder", "denoiser", "vae"]

IDLE_BELOW = 0.5
"""A stage that is busy for less of the time, with nothing waiting for it, holds up nobody."""


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What one Gateway says of itself."""

    replica: str
    uptime_s: float
    is_draining: bool
    open_streams: int
    """Calls that watch a generation."""
    waiting_images: Mapping[str, int]
    """By the model's name: images that it has accepted and no denoise step has begun for."""


@dataclass(frozen=True, slots=True)
class StageState:
    """A stage that runs, over all of its replicas."""

    name: str
    kind: StageKind
    models: tuple[str, ...]
    """Those that share it."""
    running_replicas: int
    wanted_replicas: int
    running: int
    """Prompts, or images, that its replicas work on."""
    waiting: int
    """Those that wait for it; of a denoiser in the Gateways' lines too."""
    busy_share: float | None
    """Mean over its replicas of the part of the last 10 s in which the model ran; None: none of
    them has answered."""
    problem: str
    """Why it is gone; empty where it is there, or at rest."""
    starts: bool
    """Whether it has no replica and is getting one."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The stage that holds up the others, if one does."""

    name: str
    """Empty: none does."""
    reason: str


@dataclass(frozen=True, slots=True)
class ServerState:
    """All of it."""

    stages: tuple[StageState, ...]
    gateways: tuple[GatewayReport, ...]
    """This one first."""
    bottleneck: Bottleneck


async def server_state(catalog: ModelCatalog, gateways: Sequence[GatewayReport]) -> ServerState:
    """Ask every stage of every model, side by side."""
    stages: dict[str, tuple[StageKind, StageLife, list[str]]] = {}
    for served in catalog.served:
        for kind, stage in _stages(served):
            *_, models = stages.setdefault(stage.name, (kind, stage, []))
            models.append(served.model.name)
    reports = await asyncio.gather(*(stage.report() for _, stage, _ in stages.values()))
    states = tuple(
        _state(kind, stage, models, report, gateways)
        for (kind, stage, models), report in zip(stages.values(), reports, strict=True)
    )
    return ServerState(states, tuple(gateways), bottleneck(states))


def bottleneck(stages: Iterable[StageState]) -> Bottleneck:
    """Return which stage holds up the others, and why, in a sentence."""
    stages = list(stages)
    for stage in stages:
        if stage.problem:
            return Bottleneck(stage.name, f"{stage.problem}.")
    for stage in stages:
        if stage.starts and stage.waiting:
            return Bottleneck(
                stage.name,
                f"{stage.name} has no running replica yet, and {_waiting(stage)} for it.",
            )
    by_share = sorted(stages, key=lambda one: (one.busy_share or 0.0, one.waiting), reverse=True)
    if not by_share:
        return Bottleneck("", "No model is loaded.")
    first, *others = by_share
    share = first.busy_share or 0.0
    next_one = "".join(
        f" The next is {other.name} with {other.busy_share or 0:.0%}." for other in others[:1]
    )
    of_it = f"{first.name} ran for {share:.0%} of the last 10 s"
    if first.waiting:
        return Bottleneck(first.name, f"{of_it}, and {_waiting(first)} for it.{next_one}")
    if share < IDLE_BELOW:
        return Bottleneck("", f"Nothing waits; {of_it}, more than any other stage.")
    return Bottleneck(first.name, f"{of_it}, and nothing waits for it.{next_one}")


def _stages(served: ServedModel) -> tuple[tuple[StageKind, StageLife], ...]:
    return (
        ("text_encoder", served.text_encoder),
        ("denoiser", served.denoiser),
        ("vae", served.vae),
    )


def _state(
    kind: StageKind,
    stage: StageLife,
    models: Sequence[str],
    report: StageReport,
    gateways: Iterable[GatewayReport],
) -> StageState:
    waiting = sum(replica.waiting for replica in report.replicas)
    if kind == "denoiser":
        # What waits in the engine has had no step either: the lines count it too.
        in_lines = sum(one.waiting_images.get(name, 0) for one in gateways for name in models)
        waiting = max(waiting, in_lines)
    shares = [replica.busy_share for replica in report.replicas]
    return StageState(
        name=stage.name,
        kind=kind,
        models=tuple(models),
        running_replicas=report.running,
        wanted_replicas=report.wanted,
        running=sum(replica.running for replica in report.replicas),
        waiting=waiting,
        busy_share=sum(shares) / len(shares) if shares else None,
        problem=stage.problem,
        starts=stage.starts,
    )


def _waiting(stage: StageState) -> str:
    what = "prompt" if stage.kind == "text_encoder" else "image"
    return f"1 {what} waits" if stage.waiting == 1 else f"{stage.waiting} {what}s wait"
