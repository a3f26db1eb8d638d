"""Drives the denoise engine in this process, without Ray, under one policy or another."""

import asyncio
import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch

from benchmarks.policies import OneAtATime, WholeRequestBatching
from leyden_server.accelerator.row_times import RowTimes
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import DenoiserConfig
from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.denoiser.request_state import RequestState
from leyden_server.denoiser.service import DenoiseService
from leyden_server.denoiser.step_scheduler import PayingRows, StepScheduler
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.model_repository import ResolvedModel
from leyden_server.sampling import Sampling
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import (
    Denoised,
    DenoiseRequest,
    EncodedPrompt,
    StageRun,
    StepDone,
)

__all__ = ["POLICIES", "EngineUnderLoad", "Loop", "mixed_steps", "unet_seconds_by_rows"]

Policy = Callable[[PayingRows], StepScheduler[RequestState]]

POLICIES: dict[str, Policy] = {
    "step batching": StepScheduler,
    "one at a time": OneAtATime,
    "whole-request batching": WholeRequestBatching,
}

REPEATS = 5
STEPS_TIMED = (4, 16)
RUNS_TIMED = 3


@dataclass(frozen=True, slots=True)
class Loop:
    """One image's denoising loop, as its caller saw it; seconds since the load began."""

    planned_s: float
    ended_s: float
    num_inference_steps: int
    size_px: int
    """Its width; the engine's own images are as high."""
    runs: tuple[StageRun, ...]
    """Of the UNet, one for each step."""

    @property
    def mean_batch_rows(self) -> float:
        """Rows of the batches that the image was in."""
        return statistics.fmean(run.batch_rows for run in self.runs)

    @property
    def latency_s(self) -> float:
        """From when it was due to its last step."""
        return self.ended_s - self.planned_s


class EngineUnderLoad:
    """A loaded engine; a context manager for as long as its thread runs.

    It is the Denoiser deployment's own service, reached into for its row cap and to
    exchange its batching policy.
    """

    def __init__(
        self,
        model: ResolvedModel,
        *,
        width_px: int,
        height_px: int,
        further_sizes_px: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """Load and warm up for images of that size, and of further ones, with one torch thread."""
        sized = dataclasses.replace(model, width_px=width_px, height_px=height_px)
        config = DenoiserConfig(torch_threads=1, dtype="float32", warmup_sizes_px=further_sizes_px)
        self._service = DenoiseService(sized, config, "denoiser#benchmark")
        self._latent_size = (
            height_px // model.vae_scale_factor,
            width_px // model.vae_scale_factor,
        )
        self._request = DenoiseRequest(
            request_id="benchmark",
            image_index=0,
            sampling=Sampling(0, width_px, height_px, 4, 0.0, model.solvers[0]),
            prompt=self._random_prompt(),
            negative_prompt=None,
            order=TravellingOrder(),
            preview=None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._service.stop()

    @property
    def row_cap(self) -> int:
        """Rows up to which a batch pays, as the engine's warm-up measured it."""
        (cap,) = self._service._engine.row_caps.as_dict().values()
        return cap

    def unet_runs(self) -> AbstractContextManager[list[float]]:
        """Return a list that is given the seconds of each run of the UNet until it is left."""
        return _timed_runs(self._service._runner)

    def cap_rows(self, rows: int) -> None:
        """Let a batch have so many rows at the most, whatever the warm-up found."""
        caps = self._service._engine.row_caps
        for pixels in caps.as_dict():
            caps.set(pixels, rows)

    def go_by(self, seconds: Mapping[int, float]) -> None:
        """Let batches have as many rows as pay where steps of so many take so long."""
        caps = self._service._engine.row_caps
        for pixels in caps.as_dict():
            caps.set_times(pixels, RowTimes.of(seconds, padded=False))

    def use(self, policy: Policy) -> None:
        """Exchange the policy; nothing may be running."""
        engine = self._service._engine
        with engine._changed:
            assert not any(engine._scheduler.images())
            engine._scheduler = policy(
                lambda key, there: engine.row_caps.paying(key.latent_pixels, there)
            )

    def run(
        self,
        arrivals: Sequence[float],
        step_counts: Sequence[int],
        sizes_px: Sequence[int] | None = None,
    ) -> list[Loop]:
        """Start an image of so many steps at each arrival (seconds); return them all.

        `sizes_px` are the sides of the images, where they are not of the engine's own size.
        """
        sizes_px = sizes_px or [self._request.sampling.width_px] * len(arrivals)
        return asyncio.run(self._run(arrivals, step_counts, sizes_px))

    def run_one_after_another(self, step_counts: Sequence[int]) -> float:
        """Run images one after another; return how many that is a second."""

        async def run() -> float:
            started_s = asyncio.get_running_loop().time()
            for steps in step_counts:
                await self._loop(started_s, started_s, steps, self._request.sampling.width_px)
            return len(step_counts) / (asyncio.get_running_loop().time() - started_s)

        return asyncio.run(run())

    def step_s(self, rows: int) -> float:
        """Return what a step of so many rows takes the engine, the work around the UNet included.

        By two runs of images that are all there from the start, a short one and a long one: what
        a beginning and an end cost is in both. The median of a few.
        """
        short, long = STEPS_TIMED

        def run_s(steps: int) -> float:
            return max(loop.ended_s for loop in self.run([0.0] * rows, [steps] * rows))

        return statistics.median(
            (run_s(long) - run_s(short)) / (long - short) for _ in range(RUNS_TIMED)
        )

    async def _run(
        self, arrivals: Sequence[float], step_counts: Sequence[int], sizes_px: Sequence[int]
    ) -> list[Loop]:
        started_s = asyncio.get_running_loop().time()
        tasks = []
        for planned_s, steps, size_px in zip(arrivals, step_counts, sizes_px, strict=True):
            due_s = started_s + planned_s
            await asyncio.sleep(due_s - asyncio.get_running_loop().time())
            tasks.append(asyncio.create_task(self._loop(started_s, due_s, steps, size_px)))
        return await asyncio.gather(*tasks)

    async def _loop(self, started_s: float, due_s: float, steps: int, size_px: int) -> Loop:
        own = self._request.sampling
        sampling = dataclasses.replace(own, num_inference_steps=steps)
        if size_px != own.width_px:
            sampling = dataclasses.replace(sampling, width_px=size_px, height_px=size_px)
        request = dataclasses.replace(self._request, sampling=sampling)
        runs = []
        async for event in self._service.denoise(request):
            match event:
                case StepDone():
                    runs.append(event.run)
                case Denoised():
                    ended_s = asyncio.get_running_loop().time()
        return Loop(due_s - started_s, ended_s - started_s, steps, size_px, tuple(runs))

    def _random_prompt(self) -> EncodedPrompt:
        """Return embeddings of the UNet's widths: what they say costs nothing more or less."""
        width, pooled_width = self._service._runner.conditioning
        draw = np.random.default_rng(0)
        return EncodedPrompt(
            prompt_embeds=draw.standard_normal((77, width), dtype=np.float32),
            pooled_prompt_embeds=draw.standard_normal(pooled_width, dtype=np.float32),
            token_count=3,
            truncated=False,
            replica="text-encoder#benchmark",
        )


@contextmanager
def _timed_runs(runner: UNetRunner) -> Iterator[list[float]]:
    """Time the UNet alone: what a runner is asked for by its engine, within the engine's step."""
    seconds: list[float] = []
    untimed = runner.run

    def run(batch: InputBatch) -> torch.Tensor:
        started_s = time.perf_counter()
        try:
            return untimed(batch)
        finally:
            seconds.append(time.perf_counter() - started_s)

    runner.run = run  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        del runner.run


def mixed_steps(count: int, choices: Sequence[int], seed: int) -> list[int]:
    """Return `count` step counts, each drawn from `choices`."""
    draw = random.Random(seed)
    return [draw.choice(choices) for _ in range(count)]


def unet_seconds_by_rows(
    model: ResolvedModel,
    *,
    width_px: int,
    height_px: int,
    row_counts: Sequence[int] = (1, 2, 4, 8),
) -> dict[int, float]:
    """Return the fastest of a few runs of the UNet, in one thread, for each number of rows."""
    factor = model.vae_scale_factor
    thread = TorchThread("unet", 1)
    runner = thread.run(UNetRunner.load, model, dtype=torch.float32, device=torch.device("cpu"))

    def fastest(rows: int) -> float:
        runner.time_rows(rows, height_px // factor, width_px // factor)
        return min(
            runner.time_rows(rows, height_px // factor, width_px // factor) for _ in range(REPEATS)
        )

    return {rows: thread.run(fastest, rows) for rows in row_counts}
