"""Stock diffusers in this process as a peer: eagerly, and with its UNet compiled."""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from benchmarks.on_gpu.loops import done
from benchmarks.on_gpu.sdxl_folder import PROMPT
from benchmarks.on_gpu.stock_pipeline import run_pipeline
from leyden_client.bench import Sample
from leyden_server.vae.image_file import encode_image

__all__ = ["MOST_AT_ONCE", "Compiling", "DiffusersPeer"]

MOST_AT_ONCE = 8
"""Images of a batch: those that wait, up to these."""

WARM_BATCHES = (1, MOST_AT_ONCE, 5)
"""Code is compiled for one row and for several; the last one shows that several may be any."""

Compiling = Literal["blocks", "whole"]
"""`blocks`: diffusers' `compile_repeated_blocks`, the transformer blocks alone, which takes a
minute; `whole`: the whole UNet, which takes two for each of one row and several."""


class DiffusersPeer:
    """A pipeline that makes a batch of all that wait, and then a PNG of one after another.

    Two may share a pipeline: one that compiles it, and one that runs it eagerly all the same.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        load_s: float,
        compiling: Compiling | None,
        backend: str = "inductor",
    ) -> None:
        """Warm up; `load_s` is what loading the pipeline took."""
        self._pipeline = pipeline
        self._compiled = compiling is not None
        self._numbers = iter(range(1_000_000))
        started_s = time.perf_counter()
        if compiling == "blocks":
            pipeline.unet.compile_repeated_blocks(fullgraph=True, backend=backend)
        elif compiling == "whole":
            pipeline.unet.compile(fullgraph=True, backend=backend)
        self._warm_up()
        self.start_to_ready_s = load_s + time.perf_counter() - started_s
        self._warm_up()

    def picture(self) -> NDArray[Any]:
        """Return the pixels (H, W, 3)."""
        with self._stance():
            pixels: NDArray[Any] = run_pipeline(self._pipeline, [PROMPT], [0])[0]
        return pixels

    def closed(self, clients: int, requests: int) -> list[Sample]:
        """All clients wait at the same time, so each batch has one image of each."""
        batch = min(clients, MOST_AT_ONCE)
        started_s = time.perf_counter()
        samples: list[Sample] = []
        while len(samples) < requests:
            now_s = time.perf_counter() - started_s
            samples += self._batch([now_s] * batch, started_s)
        return samples

    def open(self, arrivals: Sequence[float]) -> list[Sample]:
        """Make batches of what has arrived by then, as long as something comes."""
        started_s = time.perf_counter()
        coming, waiting = deque(arrivals), deque[float]()
        samples: list[Sample] = []
        while coming or waiting:
            now_s = time.perf_counter() - started_s
            while coming and coming[0] <= now_s:
                waiting.append(coming.popleft())
            if not waiting:
                time.sleep(coming[0] - now_s)
                continue
            batch = [waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(waiting)))]
            samples += self._batch(batch, started_s)
        return samples

    def _warm_up(self) -> None:
        for batch in WARM_BATCHES:
            self._batch([0.0] * batch, 0.0)

    def _batch(self, planned_s: Sequence[float], started_s: float) -> list[Sample]:
        seeds = [next(self._numbers) for _ in planned_s]
        with self._stance():
            images = run_pipeline(self._pipeline, [f"{PROMPT}, {seed}" for seed in seeds], seeds)
        samples = []
        for planned, pixels in zip(planned_s, images, strict=True):
            encode_image(pixels, "PNG", 100, {})
            samples.append(done(planned, time.perf_counter() - started_s))
        return samples

    def _stance(self) -> AbstractContextManager[Any]:
        if self._compiled:
            return nullcontext()
        stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return stance
