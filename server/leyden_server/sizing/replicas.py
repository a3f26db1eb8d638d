"""A replica of each stage: the server's own batching, on a simulated card.

The text encoder and the VAE batch by the server's `Batcher`, the denoiser steps by its
`StepScheduler`, with as many rows as pay by the measured times (`row_times.py`).
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from leyden_server.accelerator.row_caps import RowCaps
from leyden_server.denoiser.step_scheduler import StepScheduler
from leyden_server.sizing.card import Card
from leyden_server.sizing.costs import Costs
from leyden_server.sizing.images import VAE_SCALE_FACTOR, Image
from leyden_server.stages.batching import Batcher

__all__ = ["DenoiserReplica", "Replica", "TextEncoderReplica", "VaeReplica"]


class Replica(ABC):
    """One replica on its card."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.calls: set[asyncio.Task[Any]] = set()
        """Who waits for an answer of it."""
        self.is_dead = False
        """Whether its callers have been told that it died."""
        self.worked_s = 0.0
        """What its runs take where the card is theirs alone."""

    @abstractmethod
    async def serve(self, image: Image) -> None:
        """Return when the stage has done its part for an image."""

    def stop(self) -> None:  # noqa: B027 - most have nothing that runs by itself
        """End what runs by itself in it."""

    async def _run(self, seconds: float) -> None:
        self.worked_s += seconds
        await self.card.run(seconds)

    def die(self) -> None:
        """Let all callers know that it is gone."""
        self.is_dead = True
        self.stop()
        for call in self.calls:
            call.cancel()


class TextEncoderReplica(Replica):
    """Encodes prompts."""

    def __init__(self, card: Card, costs: Costs, max_batch_prompts: int) -> None:
        super().__init__(card)
        self._costs = costs.text_encoder
        self._batcher: Batcher[Image, None] = Batcher(
            self._encode, lambda _: max_batch_prompts, clock=asyncio.get_running_loop().time
        )

    async def serve(self, image: Image) -> None:
        """Encode an image's prompts."""
        prompts = (self._batcher(image, image.order) for _ in range(image.kind.prompts))
        if image.kind.prompts == 1:
            await next(prompts)
        else:
            await asyncio.gather(*prompts)

    async def _encode(self, images: list[Image]) -> list[None]:
        await self._run(self._costs.run_s(len(images)))
        return [None] * len(images)


class DenoiserReplica(Replica):
    """Steps images, whoever the real step scheduler picks."""

    def __init__(self, card: Card, costs: Costs, max_batch_rows: int) -> None:
        super().__init__(card)
        self._costs = costs.denoiser
        self._row_caps = RowCaps()
        for size_px, run in costs.denoiser.items():
            side = size_px // VAE_SCALE_FACTOR
            self._row_caps.set_times(side * side, run.row_times(max_batch_rows))
        self._scheduler: StepScheduler[Image] = StepScheduler(
            lambda key, there: self._row_caps.paying(key.latent_pixels, there)
        )
        self._done: dict[Image, asyncio.Future[None]] = {}
        self._comes = asyncio.Event()
        self._loop = asyncio.create_task(self._step_for_ever())

    async def serve(self, image: Image) -> None:
        """Run an image's denoising loop."""
        self._done[image] = asyncio.get_running_loop().create_future()
        self._scheduler.add(image)
        self._comes.set()
        try:
            await self._done[image]
        finally:
            self._done.pop(image, None)

    def stop(self) -> None:
        """End the stepping."""
        self._loop.cancel()

    async def _step_for_ever(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            batch, admitted = self._scheduler.schedule(clock())
            if not batch:
                self._comes.clear()
                await self._comes.wait()
                continue
            for image in admitted:
                image.on_start(image)
            rows = sum(image.rows for image in batch)
            await self._run(self._costs[batch[0].kind.size_px].run_s(rows))
            for image in batch:
                image.steps_left -= 1
                image.on_step(image)
                if image.steps_left == 0:
                    self._scheduler.remove(image)
                    self._done[image].set_result(None)


class VaeReplica(Replica):
    """Decodes latents, and encodes files beside that."""

    def __init__(self, card: Card, costs: Costs, max_batch_images: int, threads: int) -> None:
        super().__init__(card)
        self._costs = costs.vae
        self._encode_s_per_pixel = costs.image_encode_s_per_megapixel / 1e6
        self._caps = {size: run.good_rows(max_batch_images) for size, run in costs.vae.items()}
        self._batcher: Batcher[Image, None] = Batcher(
            self._decode,
            lambda image: self._caps[image.kind.size_px],
            lambda image: image.kind.size_px,
            clock=asyncio.get_running_loop().time,
        )
        self._threads = asyncio.Semaphore(threads)

    async def serve(self, image: Image) -> None:
        """Decode an image and encode its file."""
        await self._batcher(image, image.order)
        async with self._threads:
            await asyncio.sleep(self._encode_s_per_pixel * image.kind.size_px**2)
        await self.card.here()

    async def _decode(self, images: list[Image]) -> list[None]:
        await self._run(self._costs[images[0].kind.size_px].run_s(len(images)))
        return [None] * len(images)
