"""A stage in a simulation: its replicas, Serve's choice among them, and how many there are."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from leyden_server.sizing.card import Card
from leyden_server.sizing.images import Image
from leyden_server.sizing.replicas import Replica

__all__ = ["ReplicaDiedError", "Stage"]


class ReplicaDiedError(Exception):
    """The replica that had an image is gone."""


class Stage:
    """Calls go to the less busy one of two replicas that are drawn by chance, as Serve's do.

    Where that one is full the call goes to any that is not, and waits in line where there is
    none: Serve draws again and again, with pauses.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[Card], Replica],
        *,
        take_card: Callable[[], Card | None],
        give_card: Callable[[Card], None],
        start_s: float,
        max_ongoing: int,
        chance: random.Random,
    ) -> None:
        """`take_card` gives a place for one more replica, None where there is none."""
        self.name = name
        self.running: list[Replica] = []
        self.target = 0
        self._make = make
        self._take_card = take_card
        self._give_card = give_card
        self._start_s = start_s
        self._max_ongoing = max_ongoing
        self._chance = chance
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ongoing = 0
        self._starting: set[asyncio.Task[None]] = set()
        self._leaving: set[Replica] = set()
        self._all: list[Replica] = []

    @property
    def ongoing(self) -> int:
        """Calls that run or wait: what the autoscaler is told."""
        return self._ongoing

    def begin(self, replicas: int) -> None:
        """Have so many at once, as when the server is ready."""
        self.target = replicas
        for _ in range(replicas):
            card = self._take_card()
            assert card is not None, "the design's own replicas have cards"
            self._add(card)

    @property
    def worked_s(self) -> float:
        """What the runs of all its replicas so far take alone."""
        return sum(replica.worked_s for replica in self._all)

    def end(self) -> None:
        """End what runs by itself."""
        for replica in self._all:
            replica.stop()
        for start in self._starting:
            start.cancel()

    def scale_to(self, target: int) -> None:
        """Start what lacks; retire what is too much."""
        self.target = target
        self._fill()
        while len(self.running) > target:
            # Serve prefers those that start to be stopped first, then whoever is newest.
            self._retire(self.running.pop())

    def lost(self, replica: Replica) -> None:
        """Note that a replica died; another one is started."""
        if replica in self.running:
            self.running.remove(replica)
        self._leaving.discard(replica)
        replica.die()
        self._fill()

    def replicas_on(self, cards: set[Card]) -> list[Replica]:
        """Return who is on these cards."""
        return [one for one in (*self.running, *self._leaving) if one.card in cards]

    async def call(self, image: Image) -> None:
        """Have a replica serve an image.

        Raises:
            ReplicaDiedError: it died meanwhile.

        """
        self._ongoing += 1
        try:
            while (replica := self._pick()) is None:
                await self._wait_for_room()
            await self._serve(replica, image)
        finally:
            self._ongoing -= 1
            self._wake_one()

    def retry_starts(self) -> None:
        """Try again to place what found no card."""
        self._fill()

    async def _serve(self, replica: Replica, image: Image) -> None:
        call: asyncio.Task[Any] | None = asyncio.current_task()
        assert call is not None
        replica.calls.add(call)
        try:
            await replica.serve(image)
        except asyncio.CancelledError:
            if not replica.is_dead:
                raise
            call.uncancel()
            raise ReplicaDiedError(self.name) from None
        finally:
            replica.calls.discard(call)
            self._let_go(replica)

    def _pick(self) -> Replica | None:
        if not self.running:
            return None
        drawn = self._chance.sample(self.running, min(2, len(self.running)))
        best = min(drawn, key=lambda one: len(one.calls))
        if len(best.calls) < self._max_ongoing:
            return best
        return next((one for one in self.running if len(one.calls) < self._max_ongoing), None)

    async def _wait_for_room(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _wake_one(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def _fill(self) -> None:
        while len(self.running) + len(self._starting) < self.target:
            card = self._take_card()
            if card is None:
                return
            start = asyncio.create_task(self._start(card))
            self._starting.add(start)
            start.add_done_callback(self._starting.discard)

    async def _start(self, card: Card) -> None:
        await asyncio.sleep(self._start_s)
        if card.is_lost or len(self.running) >= self.target:
            self._give_card(card)
            return
        self._add(card)
        for _ in range(min(len(self._waiting), self._max_ongoing)):
            self._wake_one()

    def _add(self, card: Card) -> None:
        replica = self._make(card)
        self.running.append(replica)
        self._all.append(replica)

    def _retire(self, replica: Replica) -> None:
        self._leaving.add(replica)
        self._let_go(replica)

    def _let_go(self, replica: Replica) -> None:
        if replica in self._leaving and not replica.calls:
            self._leaving.discard(replica)
            replica.stop()
            self._give_card(replica.card)
