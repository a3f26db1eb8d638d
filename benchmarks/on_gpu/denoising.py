"""The denoise engine as the server runs it, kept full of images that stand at different steps."""

import queue
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice

import torch
from diffusers import UNet2DConditionModel

from benchmarks.on_gpu.architecture import TOKENS, Architecture
from benchmarks.on_gpu.timing import DeviceClock
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import UNetExecution
from leyden_server.denoiser.engine import DenoiseEngine
from leyden_server.denoiser.float8_products import Product
from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.denoiser.noise_schedule import NoiseSchedule
from leyden_server.denoiser.request_state import Finished, ImageEvent, RequestState, Stepped
from leyden_server.denoiser.step_scheduler import BatchKey
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.sampling import Sampling
from leyden_server.service_order import TravellingOrder

__all__ = ["Images", "Steps", "TimedRunner", "denoise_alone", "keep_full"]

WARM_STEPS = 4
"""Steps that are not measured: the first ones of the engine, which allocate."""
FIRST_PROMPT_SEED = 1_000_000
"""Away from the noise's seeds, or the embeddings would begin with the noise."""
PATIENCE_S = 600.0
"""How long one step may take before the measurement gives up on it."""


class TimedRunner(UNetRunner):
    """The server's runner; each run is marked for the clock, and its rows are noted."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        *,
        execution: UNetExecution,
        float8: Collection[Product],
        clock: DeviceClock,
    ) -> None:
        super().__init__(unet, execution=execution, float8=float8)
        self._clock = clock
        self._rows: list[int] = []

    def run(self, batch: InputBatch) -> torch.Tensor:
        """Run the UNet as the server does."""
        with self._clock.region():
            noise_pred = super().run(batch)
        self._rows.append(batch.rows)
        return noise_pred

    def take(self) -> list[tuple[int, float]]:
        """Return the rows and the milliseconds of each run since the last call."""
        rows, self._rows = self._rows, []
        return list(zip(rows, self._clock.take(), strict=True))


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event of one image, and when the engine sent it (perf_counter)."""

    image: int
    event: ImageEvent
    at_s: float


Events = queue.SimpleQueue[Emitted]


@dataclass(frozen=True, slots=True)
class Images:
    """Makes the engine's images: noise and embeddings drawn from each one's seed."""

    architecture: Architecture
    size_px: int
    dtype: torch.dtype
    schedule: NoiseSchedule

    @property
    def latent_side(self) -> int:
        """Side of the latents."""
        return self.size_px // self.architecture.vae_scale_factor

    def initial_latents(self, seed: int) -> torch.Tensor:
        """Return the noise (C, H, W) that an image starts from."""
        generator = torch.Generator().manual_seed(seed)
        shape = (self.architecture.unet["in_channels"], self.latent_side, self.latent_side)
        return torch.randn(shape, generator=generator) * self.schedule.init_noise_sigma

    def request_state(
        self, image: int, events: Events, *, seed: int, prompt_seed: int | None = None
    ) -> RequestState:
        """Return an image at its first step, without guidance; its number marks its events."""
        prompt_seed = seed if prompt_seed is None else prompt_seed
        prompt = torch.Generator().manual_seed(FIRST_PROMPT_SEED + prompt_seed)
        width = self.architecture.unet["cross_attention_dim"]
        pooled_width = self.architecture.pooled_width
        latents = self.initial_latents(seed)
        return RequestState(
            batch_key=BatchKey(
                latent_shape=(latents.shape[0], self.latent_side, self.latent_side),
                dtype=str(self.dtype),
                conditioning=(TOKENS, width, pooled_width),
            ),
            sampling=Sampling(
                seed=seed,
                width_px=self.size_px,
                height_px=self.size_px,
                num_inference_steps=len(self.schedule.timesteps),
                guidance_scale=0.0,
                solver="euler",
            ),
            order=TravellingOrder().arrived(),
            schedule=self.schedule,
            generator=prompt,
            prompt_embeds=torch.randn(1, TOKENS, width, generator=prompt),
            pooled_prompt_embeds=torch.randn(1, pooled_width, generator=prompt),
            add_time_ids=torch.tensor([self.size_px, self.size_px, 0, 0] + [self.size_px] * 2),
            preview_every_steps=None,
            emit=lambda event: events.put(Emitted(image, event, time.perf_counter())),
            latents=latents,
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """What keeping the engine full gave, its first steps left out."""

    warm_up_s: float
    """Compiling and capturing included, where this run was the first to need them."""
    unet_ms: list[float]
    """Device time of each UNet run with the rows asked for."""
    step_ms: list[float]
    """Wall time of each such step in the engine: gather, UNet, Euler, scatter."""
    images_per_s: float
    """From the whole time between the first and the last step that counts."""
    latents: dict[int, torch.Tensor]
    """(C, H, W) by seed, of images that went through all steps."""


def denoise_alone(
    thread: TorchThread,
    runner: UNetRunner,
    images: Images,
    seeds: Iterable[int],
    *,
    prompt_seed: int | None = None,
) -> dict[int, torch.Tensor]:
    """Denoise each seed's image in batches of one; return the latents (C, H, W) by seed."""
    events: Events = queue.SimpleQueue()
    engine = DenoiseEngine(thread, runner, 1)
    engine.warm_up([(images.latent_side, images.latent_side)], measure=False)
    missing = set(seeds)
    for seed in missing:
        engine.submit(images.request_state(seed, events, seed=seed, prompt_seed=prompt_seed))
    latents: dict[int, torch.Tensor] = {}
    with _running(engine):
        while missing - latents.keys():
            emitted = events.get(timeout=PATIENCE_S)
            if isinstance(emitted.event, Finished):
                latents[emitted.image] = _finished_latents(emitted.event)
    return latents


def keep_full(
    thread: TorchThread,
    runner: TimedRunner,
    images: Images,
    *,
    rows: int,
    seeds: int,
    steps: int,
) -> Steps:
    """Measure `steps` steps of `rows` rows while twice as many images wait.

    The first `rows` images start at different steps, so that from then on each batch has rows
    at all of them. Seeds go round from 0 to `seeds`, so that every image has its reference.
    """
    events: Events = queue.SimpleQueue()
    engine = DenoiseEngine(thread, runner, rows)
    started_s = time.perf_counter()
    engine.warm_up([(images.latent_side, images.latent_side)], measure=False)
    warm_up_s = time.perf_counter() - started_s
    runner.take()

    def submit(number: int) -> None:
        image = images.request_state(number, events, seed=number % seeds)
        image.step_index = number % image.steps_left if number < rows else 0
        engine.submit(image)

    numbers = count()
    for number in islice(numbers, 3 * rows):
        submit(number)
    batches: list[tuple[int, float, float]] = []  # rows, seconds, when it ended
    latents: dict[int, torch.Tensor] = {}
    stepped = 0
    with _running(engine):
        # A seed whose first image joined midway comes again as a whole one.
        while len(batches) < WARM_STEPS + steps or len(latents) < seeds:
            emitted = events.get(timeout=PATIENCE_S)
            match emitted.event:
                case Stepped(duration_s=duration_s, batch_rows=batch_rows):
                    stepped += 1
                    if stepped == batch_rows:
                        batches.append((batch_rows, duration_s, emitted.at_s))
                        stepped = 0
                case Finished():
                    if emitted.image >= rows:
                        latents[emitted.image % seeds] = _finished_latents(emitted.event)
                    submit(next(numbers))
    runs = runner.take()
    counted = batches[WARM_STEPS:]
    elapsed_s = counted[-1][2] - batches[WARM_STEPS - 1][2]
    num_inference_steps = len(images.schedule.timesteps)
    return Steps(
        warm_up_s=warm_up_s,
        unet_ms=[ms for ran_rows, ms in runs[WARM_STEPS : len(batches)] if ran_rows == rows],
        step_ms=[1000 * duration_s for ran_rows, duration_s, _ in counted if ran_rows == rows],
        images_per_s=sum(one[0] for one in counted) / num_inference_steps / elapsed_s,
        latents=latents,
    )


@contextmanager
def _running(engine: DenoiseEngine) -> Iterator[None]:
    engine.start()
    try:
        yield
    finally:
        engine.stop()


def _finished_latents(event: Finished) -> torch.Tensor:
    if event.latents is None:
        raise event.error or RuntimeError("the engine dropped an image")
    return event.latents
