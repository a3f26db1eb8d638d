"""Runs a design under a load, in virtual time."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from leyden_server.sizing import virtual_time
from leyden_server.sizing.arrivals import Load, drawn
from leyden_server.sizing.card import Card
from leyden_server.sizing.cards import Cards
from leyden_server.sizing.costs import Costs
from leyden_server.sizing.design import STAGES, Design, largest_batches
from leyden_server.sizing.gateways import Core, Gateway
from leyden_server.sizing.images import Image, Kind
from leyden_server.sizing.outcome import Outcome, Sample
from leyden_server.sizing.replicas import (
    DenoiserReplica,
    Replica,
    TextEncoderReplica,
    VaeReplica,
)
from leyden_server.sizing.scaling import scale
from leyden_server.sizing.stage import Stage

__all__ = ["LostNode", "closed_loop", "replay", "simulate"]

SAMPLE_PERIOD_S = 1.0

Request = tuple[float, Kind]
"""When it comes, in seconds, and of which kind it is."""

Progress = Callable[[float], None]
"""Is told the share that is done."""


@dataclass(frozen=True, slots=True)
class LostNode:
    """A node that is there no more, and comes back."""

    at_s: float
    unnoticed_s: float
    """For how long calls that it had, and gets, just wait."""
    away_s: float
    """After which its cards are there again, empty."""


def simulate(
    design: Design,
    costs: Costs,
    kinds: tuple[Kind, ...],
    load: Load,
    *,
    name: str,
    seed: int,
    warm_up_s: float = 0.0,
    fault: LostNode | None = None,
    progress: Progress = lambda _share: None,
) -> Outcome:
    """Return what comes of a load; the same for the same arguments."""

    def requests() -> Iterator[Request]:
        chance = random.Random(f"{seed} arrivals")
        of_kinds = random.Random(f"{seed} kinds")
        for at_s in load.arrivals(chance):
            progress(at_s / load.length_s)
            yield at_s, drawn(kinds, of_kinds)

    async def main() -> Outcome:
        return await _World(design, costs, name, seed, warm_up_s).open(requests(), fault)

    return virtual_time.run(main())


def replay(design: Design, costs: Costs, requests: Iterable[Request], *, seed: int) -> Outcome:
    """Return what comes of these very requests, in the order of their times."""

    async def main() -> Outcome:
        return await _World(design, costs, "replay", seed, 0.0).open(iter(requests), None)

    return virtual_time.run(main())


def closed_loop(
    design: Design, costs: Costs, kind: Kind, *, clients: int, requests: int, seed: int
) -> Outcome:
    """Return what comes of clients that each ask for an image after another."""

    async def main() -> Outcome:
        world = _World(design, costs, f"{clients} clients", seed, 0.0)
        return await world.closed(kind, clients, requests)

    return virtual_time.run(main())


class _World:
    """Everything in one simulation; needs the running loop."""

    def __init__(
        self, design: Design, costs: Costs, name: str, seed: int, warm_up_s: float
    ) -> None:
        self._design = design
        self._costs = costs
        self._chance = random.Random(f"{seed} choices")
        self._warm_up_s = warm_up_s
        self._clock = asyncio.get_running_loop().time
        self._outcome = Outcome(name, 0.0)
        self._cards = Cards(design)
        self._stages = {stage: self._stage(stage) for stage in STAGES}
        for stage in self._stages.values():
            stage.begin(design.replicas[stage.name].at_rest)
        self._directory = Core()
        several = design.gateways > 1
        self._gateways = [
            Gateway(design, costs, self._stages, self._directory if several else None)
            for _ in range(design.gateways)
        ]
        self._replica_s = dict.fromkeys(STAGES, 0.0)

    async def open(self, arrivals: Iterator[Request], fault: LostNode | None) -> Outcome:
        """Let requests come when they come, and wait for all of them."""
        helpers = self._helpers(fault)
        requests: set[asyncio.Task[None]] = set()
        for at_s, kind in arrivals:
            await asyncio.sleep(at_s - self._clock())
            request = asyncio.create_task(self._ask(kind))
            requests.add(request)
            request.add_done_callback(requests.discard)
        if requests:
            await asyncio.wait(requests)
        await self._end(helpers)
        return self._outcome

    async def closed(self, kind: Kind, clients: int, requests: int) -> Outcome:
        """Let clients ask one after another, so many times altogether."""
        helpers = self._helpers(None)
        left = requests

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await self._ask(kind)

        await asyncio.gather(*(client() for _ in range(clients)))
        await self._end(helpers)
        return self._outcome

    async def _ask(self, kind: Kind) -> None:
        image = Image(kind, self._clock())
        self._outcome.offered += 1
        gateway = self._chance.choice(self._gateways)
        end = await gateway.generate(image)
        self._outcome.ends[end] += 1
        self._outcome.retried += image.retries
        if end == "":
            took_s = self._clock() - image.arrival_s
            self._outcome.finished.append((image.arrival_s, took_s))
            if image.arrival_s >= self._warm_up_s:
                self._outcome.latencies_s.append(took_s)

    def _helpers(self, fault: LostNode | None) -> list[asyncio.Task[None]]:
        helpers = [asyncio.create_task(self._sample())]
        helpers += [
            asyncio.create_task(scale(stage, self._design))
            for stage in self._stages.values()
            if self._design.replicas[stage.name].scale
        ]
        if fault is not None:
            helpers.append(asyncio.create_task(self._lose_node(fault)))
        return helpers

    async def _end(self, helpers: list[asyncio.Task[None]]) -> None:
        for helper in helpers:
            helper.cancel()
            with suppress(asyncio.CancelledError):
                await helper
        for stage in self._stages.values():
            stage.end()
        outcome, now_s = self._outcome, self._clock()
        outcome.length_s = now_s
        outcome.latencies_s.sort()
        for name, stage in self._stages.items():
            outcome.busy[name] = stage.worked_s / max(self._replica_s[name], 1e-9)
        outcome.busy["gateway"] = max(one.core.busy_s for one in self._gateways) / now_s
        outcome.busy["directory"] = self._directory.busy_s / now_s
        cards = self._cards.all
        for card in cards:
            card.settle()
        outcome.busy["cards"] = sum(card.busy_s for card in cards) / len(cards) / now_s

    async def _sample(self) -> None:
        while True:
            stages = self._stages.items()
            for name, stage in stages:
                self._replica_s[name] += len(stage.running) * SAMPLE_PERIOD_S
            self._outcome.samples.append(
                Sample(
                    self._clock(),
                    {name: len(stage.running) for name, stage in stages},
                    {name: stage.target for name, stage in stages},
                    {name: stage.ongoing for name, stage in stages},
                    sum(gateway.waiting_images for gateway in self._gateways),
                    self._outcome.offered,
                )
            )
            await asyncio.sleep(SAMPLE_PERIOD_S)

    async def _lose_node(self, fault: LostNode) -> None:
        await asyncio.sleep(fault.at_s)
        cards = self._cards.node()
        for card in cards:
            card.lose()
        await asyncio.sleep(fault.unnoticed_s)
        places = [
            (stage, replica.card)
            for stage in self._stages.values()
            for replica in stage.replicas_on(cards)
        ]
        for stage in self._stages.values():
            for replica in stage.replicas_on(cards):
                stage.lost(replica)
        await asyncio.sleep(max(0.0, fault.away_s - fault.unnoticed_s))
        for card in cards:
            card.restore()
        for stage, card in places:
            self._cards.give(stage.name, card)
        for stage in self._stages.values():
            stage.retry_starts()

    def _stage(self, name: str) -> Stage:
        design, costs = self._design, self._costs
        batch = {**largest_batches(costs), **design.max_batch}[name]

        def make(card: Card) -> Replica:
            if name == "text_encoder":
                return TextEncoderReplica(card, costs, batch)
            if name == "denoiser":
                return DenoiserReplica(card, costs, batch)
            return VaeReplica(card, costs, batch, design.encode_threads)

        return Stage(
            name,
            make,
            take_card=partial(self._cards.take, name),
            give_card=partial(self._cards.give, name),
            start_s=costs.start_s,
            # As Serve is told: the Gateways' lines say who is handed on.
            max_ongoing=2 * design.max_ongoing_requests,
            chance=self._chance,
        )
