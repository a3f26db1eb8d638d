"""Gateways in a simulation: an image's whole way, as `generations/generation.py` leads it.

A Gateway is one event loop on one core: what it does for others is waited for. Its own work for
an image that is alone is in `between_stages_s`, so that only the waiting is added here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from leyden_server.sizing.costs import Costs
from leyden_server.sizing.design import Design
from leyden_server.sizing.images import Image
from leyden_server.sizing.stage import ReplicaDiedError, Stage

__all__ = ["FAILED", "QUEUE_FULL", "Core", "Gateway"]

QUEUE_FULL = "refused"
FAILED = "failed"


class Core:
    """A core that does one thing after another."""

    def __init__(self) -> None:
        self.busy_s = 0.0
        self._free_s = 0.0

    def add(self, seconds: float) -> None:
        """Have it do something that nobody waits for."""
        self._free_s = max(self._free_s, asyncio.get_running_loop().time()) + seconds
        self.busy_s += seconds

    async def wait(self, seconds: float) -> None:
        """Wait until what came before is done; what is asked for now comes next."""
        left_s = self._free_s - asyncio.get_running_loop().time()
        self.add(seconds)
        if left_s > 0:
            await asyncio.sleep(left_s)


@dataclass(frozen=True, slots=True)
class _Limits:
    waiting: int
    open: int
    retries: int


class Gateway:
    """One Gateway and its line."""

    def __init__(
        self,
        design: Design,
        costs: Costs,
        stages: Mapping[str, Stage],
        directory: Core | None,
    ) -> None:
        """`directory` is the core of the directory's process, where there are several Gateways."""
        self.core = Core()
        self.waiting_images = 0
        self.open_images = 0
        self._costs = costs
        self._stages = stages
        self._directory = directory
        self._limits = _Limits(
            design.max_waiting_images, design.max_open_images, design.stage_retries
        )
        self._share = max(1, design.max_ongoing_requests // design.gateways)
        self._in_hand = 0
        self._turns: deque[asyncio.Future[None]] = deque()

    async def generate(self, image: Image) -> str:
        """Lead an image through the stages; return "" or how it ended without a picture."""
        if self.waiting_images >= self._limits.waiting or self.open_images >= self._limits.open:
            self.core.add(self._costs.gateway.refusal_s)
            return QUEUE_FULL
        self.waiting_images += 1
        self.open_images += 1
        image.on_start, image.on_step = self._started, self._stepped
        try:
            await self._lead(image)
        except ReplicaDiedError:
            return FAILED
        finally:
            self.open_images -= 1
            if not image.started:
                self.waiting_images -= 1
        return ""

    async def _lead(self, image: Image) -> None:
        costs = self._costs
        # Half of either before the first step: no figure tells apart what comes when.
        await self.core.wait(costs.gateway.request_s / 2)
        if self._directory is not None:
            await self._directory.wait(costs.gateway.claim_s)
        await asyncio.sleep(costs.between_stages_s / 2)
        await self._retried(self._stages["text_encoder"], image, _nothing)
        await self._take_turn()
        try:
            await self._retried(self._stages["denoiser"], image, self._restart)
        finally:
            self._give_turn()
        await self.core.wait(0.0)
        await self._retried(self._stages["vae"], image, _nothing)
        await self.core.wait(costs.gateway.request_s / 2)
        await asyncio.sleep(costs.between_stages_s / 2)

    async def _retried(self, stage: Stage, image: Image, again: Callable[[Image], None]) -> None:
        for tries_left in range(self._limits.retries, -1, -1):
            try:
                await stage.call(image)
            except ReplicaDiedError:
                if tries_left == 0:
                    raise
                image.retries += 1
                again(image)
            else:
                return

    def _restart(self, image: Image) -> None:
        image.steps_left = image.kind.steps
        if image.started:
            image.started = False
            self.waiting_images += 1

    async def _take_turn(self) -> None:
        if self._in_hand >= self._most_in_hand:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            await turn
        else:
            self._in_hand += 1

    def _give_turn(self) -> None:
        self._in_hand -= 1
        while self._turns and self._in_hand < self._most_in_hand:
            self._in_hand += 1
            self._turns.popleft().set_result(None)

    @property
    def _most_in_hand(self) -> int:
        return self._share * max(1, len(self._stages["denoiser"].running))

    def _started(self, image: Image) -> None:
        if not image.started:
            image.started = True
            self.waiting_images -= 1

    def _stepped(self, _image: Image) -> None:
        self.core.add(self._costs.gateway.step_s)


def _nothing(_image: Image) -> None:
    """Do nothing: what is run again has no state."""
