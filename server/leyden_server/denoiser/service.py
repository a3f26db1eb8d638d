"""Between the deployment and the engine: requests become rows, the thread's events a stream."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import torch

from leyden_server.accelerator.cores import Cores, CoreShare
from leyden_server.accelerator.device import torch_threads
from leyden_server.accelerator.device_memory import MemoryReading
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import DenoiserConfig
from leyden_server.denoiser.engine import DenoiseEngine
from leyden_server.denoiser.guidance import guidance_embedding
from leyden_server.denoiser.noise_schedule import NoiseSchedules
from leyden_server.denoiser.precision import unet_precision
from leyden_server.denoiser.previews import make_preview
from leyden_server.denoiser.request_state import (
    Finished,
    ImageEvent,
    RequestState,
    Started,
    Stepped,
)
from leyden_server.denoiser.step_scheduler import BatchKey
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.model_repository import ResolvedModel
from leyden_server.sampling import Sampling
from leyden_server.stages.contract import (
    Denoised,
    DenoiseEvent,
    DenoiseRequest,
    DenoiserInfo,
    DenoiseStarted,
    EncodedPrompt,
    EngineStats,
    FloatArray,
    PreviewImage,
    ReplicaState,
    StepDone,
)
from leyden_server.stages.failures import telling_failures
from leyden_server.stages.tally import EngineTally

__all__ = ["DenoiseService"]


class DenoiseService:
    """Runs the denoising loops of one model's images.

    Its methods are for one event loop; making it blocks until the UNet is warmed up.
    """

    def __init__(
        self,
        model: ResolvedModel,
        config: DenoiserConfig,
        replica: str,
        cores: Cores | None = None,
    ) -> None:
        """Load and warm up; raises as `UNetRunner.load`, `time_rows` and `check` do.

        `cores` are shared with the process's other stages; None: it has none.
        """
        self._config = config
        precision = unet_precision(config.dtype, steps=model.steps.default)
        self._model = model
        self._schedules = NoiseSchedules(model.scheduler_config, model.timesteps, model.eta)
        # Before the weights, which take long: a request is a bad moment to find out.
        self._schedules.check(model.solvers, {model.steps.default, model.steps.max})
        self._replica = replica
        self._memory = MemoryReading(precision.device)
        self._leaving: set[RequestState] = set()
        """Images whose callers have left, until the engine has noticed."""
        self._has_left = asyncio.Event()
        self._thread = TorchThread("denoise-engine", torch_threads(config) if cores is None else 1)
        self._runner = self._thread.run(
            UNetRunner.load,
            model,
            dtype=precision.dtype,
            device=precision.device,
            float8=precision.float8,
            execution=config.unet_execution,
        )
        self._engine = DenoiseEngine(
            self._thread, self._runner, config.max_batch_rows, CoreShare(cores)
        )
        factor = model.vae_scale_factor
        sizes = [(model.width_px, model.height_px), *config.warmup_sizes_px]
        self._engine.warm_up(
            [(height // factor, width // factor) for width, height in sizes],
            measure=config.measure_batch_rows,
        )
        self._engine.start()

    async def ready(self) -> DenoiserInfo:
        """Describe the replica and its model."""
        return DenoiserInfo(self._replica, self._runner.revision, self._engine.row_caps.as_dict())

    async def stats(self) -> EngineStats:
        """Return the engine's counters."""
        return self._engine.stats()

    async def state(self) -> ReplicaState:
        """Return what the engine does now."""
        stats = self._engine.stats()
        return ReplicaState(self._replica, self._engine.busy.share(), stats.running, stats.waiting)

    async def tally(self) -> EngineTally | None:
        """Return what nobody was told yet, once the images that leave now have left."""
        for image in [*self._leaving]:
            while image in self._leaving:
                self._has_left.clear()
                await self._has_left.wait()
        return self._engine.owed.take()

    def check_health(self) -> None:
        """Raise RuntimeError where the engine can no longer be relied on."""
        self._engine.check_health(self._config.stall_timeout_s)

    def stop(self) -> None:
        """Stop the engine at the next step boundary; whatever is left fails as UNAVAILABLE."""
        try:
            self._engine.stop()
        finally:
            self._thread.stop()

    async def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        """Run one image's denoising loop; leaving the iterator early aborts the image.

        Raises:
            OutOfMemoryError: not even the image alone has room.
            StageFailedError: a step failed with the image alone.
            UnavailableError: the replica is shutting down.

        """
        async with aclosing(self.denoise_together(request)) as parts:
            async for events in parts:
                for event in events:
                    yield event

    async def denoise_together(
        self, request: DenoiseRequest
    ) -> AsyncGenerator[tuple[DenoiseEvent, ...]]:
        """Do as `denoise`, with the last step's end and its latents in one item.

        Between processes an item takes a millisecond on its way, and the latents are what the VAE
        waits for.
        """
        with telling_failures("denoiser"):
            async with aclosing(self._denoise(request)) as parts:
                async for events in parts:
                    yield events

    async def _denoise(self, request: DenoiseRequest) -> AsyncGenerator[tuple[DenoiseEvent, ...]]:
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[ImageEvent] = asyncio.Queue()
        is_in_engine = True

        def take(event: ImageEvent) -> None:
            nonlocal is_in_engine
            events.put_nowait(event)
            if isinstance(event, Finished):
                is_in_engine = False
                self._leaving.discard(image)
                self._has_left.set()

        def emit(event: ImageEvent) -> None:
            loop.call_soon_threadsafe(take, event)

        image = self._request_state(request, emit)
        self._engine.submit(image)
        try:
            while True:
                event = await events.get()
                match event:
                    case Started(load=load):
                        yield (DenoiseStarted(self._replica, load),)
                    case Stepped(is_last=False):
                        yield (await self._step_done(event, request),)
                    case Stepped():
                        latents = _latents(await events.get())
                        yield await self._step_done(event, request), Denoised(latents)
                        return
                    case Finished(error=error):
                        raise error or asyncio.CancelledError
        finally:
            if is_in_engine:
                self._leaving.add(image)
                self._engine.abort(image)

    async def _step_done(self, event: Stepped, request: DenoiseRequest) -> StepDone:
        preview = await self._preview(event, request)
        return StepDone(
            step=event.step,
            timestep=event.timestep,
            sigma=event.sigma,
            started_s=event.started_s,
            duration_s=event.duration_s,
            batch_rows=event.batch_rows,
            preview=preview,
            load=event.load,
            # Last: what is taken here is lost with whoever leaves before it is sent.
            tally=self._engine.owed.take(),
            memory=self._memory(),
        )

    async def _preview(self, event: Stepped, request: DenoiseRequest) -> PreviewImage | None:
        if event.denoised is None or request.preview is None or self._model.preview is None:
            return None
        return await asyncio.to_thread(
            make_preview, event.denoised, self._model.preview, request.preview
        )

    def _request_state(
        self, request: DenoiseRequest, emit: Callable[[ImageEvent], None]
    ) -> RequestState:
        order, sampling = request.order.arrived(), request.sampling
        factor = self._model.vae_scale_factor
        shape = (
            self._model.latent_channels,
            sampling.height_px // factor,
            sampling.width_px // factor,
        )
        schedule = self._schedules.get(sampling.solver, sampling.num_inference_steps)
        generator = torch.Generator().manual_seed(sampling.seed)
        prompts = self._conditioning_rows(request)
        prompt_embeds = _stack([prompt.prompt_embeds for prompt in prompts])
        pooled = _stack([prompt.pooled_prompt_embeds for prompt in prompts])
        size = (sampling.height_px, sampling.width_px)
        latents = torch.randn(1, *shape, generator=generator)[0] * schedule.init_noise_sigma
        return RequestState(
            batch_key=BatchKey(
                latent_shape=shape,
                dtype=str(self._runner.dtype),
                conditioning=(*prompt_embeds.shape[1:], pooled.shape[1]),
            ),
            sampling=sampling,
            order=order,
            schedule=schedule,
            generator=generator,
            prompt_embeds=prompt_embeds,
            pooled_prompt_embeds=pooled,
            # original_size + crops_coords_top_left + target_size, diffusers' defaults
            add_time_ids=torch.tensor([*size, 0, 0, *size]),
            timestep_cond=self._timestep_cond(sampling),
            preview_every_steps=request.preview.every_steps if request.preview else None,
            emit=emit,
            latents=latents,
        )

    def _conditioning_rows(self, request: DenoiseRequest) -> list[EncodedPrompt]:
        if not self._model.do_classifier_free_guidance(request.sampling.guidance_scale):
            return [request.prompt]
        return [request.negative_prompt or request.prompt.zeroed(), request.prompt]

    def _timestep_cond(self, sampling: Sampling) -> torch.Tensor | None:
        width = self._model.time_cond_proj_dim
        return None if width is None else guidance_embedding(sampling.guidance_scale, width)


def _latents(event: ImageEvent) -> FloatArray:
    """Return those of what follows the last step."""
    assert isinstance(event, Finished)
    assert event.latents is not None
    latents: FloatArray = event.latents.numpy()
    return latents


def _stack(rows: list[FloatArray]) -> torch.Tensor:
    return torch.stack([torch.tensor(row) for row in rows])
