"""The step-batching loop: schedule → gather → run → step → scatter, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import torch

from leyden_server.accelerator.row_caps import RowCaps, measure_row_cap
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.denoiser.euler import ancestral_step, euler_step, pred_original_sample
from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.denoiser.load import RunningMean, engine_load
from leyden_server.denoiser.request_state import Finished, RequestState, Started, Stepped
from leyden_server.denoiser.step_scheduler import StepScheduler
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.errors import UnavailableError
from leyden_server.model_repository.entry import PredictionType
from leyden_server.stages.contract import EngineLoad, EngineStats

__all__ = ["DenoiseEngine"]

logger = logging.getLogger(__name__)

MAX_FAILED_IN_A_ROW = 3


class DenoiseEngine:
    """Runs many images' denoising loops through one UNet.

    `submit`, `abort` and the readings may be called from any thread; each image's `emit`
    is called in the engine's. An image that was submitted always gets a `Finished`.
    """

    def __init__(
        self,
        thread: TorchThread,
        runner: UNetRunner,
        prediction_type: PredictionType,
        max_batch_rows: int,
    ) -> None:
        """`thread` is the one that loaded the runner; the loop takes it over in `start`."""
        self.row_caps = RowCaps()
        self._runner = runner
        self._prediction_type = prediction_type
        self._max_batch_rows = max_batch_rows
        self._scheduler: StepScheduler[RequestState] = StepScheduler(
            lambda key: self.row_caps.get(key.latent_pixels)
        )
        self._changed = threading.Condition()
        self._stopping = False
        self._step_started_s: float | None = None
        self._failed_in_a_row = 0
        self._step_s = RunningMean()
        self._native_pixels = 0
        self._unet_rows = self._unet_batches = self._retired = self._aborted = 0
        self._thread = thread
        self._looping: Future[None] | None = None

    def warm_up(self, latent_sizes: Sequence[tuple[int, int]], *, measure: bool = True) -> None:
        """Run each (height, width) and measure up to how many rows a batch pays there.

        The first is the model's native size. Without `measure` the configured most is taken to
        pay.
        """
        self._native_pixels = latent_sizes[0][0] * latent_sizes[0][1]
        for height, width in latent_sizes:
            run = partial(self._runner.time_rows, latent_height=height, latent_width=width)
            if not measure:
                for rows in self._runner.buckets(self._max_batch_rows):
                    self._thread.run(run, rows)
                self.row_caps.set(height * width, self._max_batch_rows)
                continue
            cap, seconds = self._thread.run(measure_row_cap, run, self._max_batch_rows)
            self.row_caps.set(height * width, cap)
            timings = {rows: round(duration, 4) for rows, duration in seconds.items()}
            logger.info("latents %dx%d: cap %d rows; seconds %s", height, width, cap, timings)

    def start(self) -> None:
        """Start the loop; `warm_up` comes first."""
        self._looping = self._thread.submit(self._loop)

    def stop(self) -> None:
        """Stop at the next step boundary; whatever is left fails as UNAVAILABLE."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._looping is not None:
            self._looping.result()

    def submit(self, image: RequestState) -> None:
        """Take an image; it joins at the next step boundary.

        Raises:
            UnavailableError: the engine has stopped.

        """
        with self._changed:
            if self._stopping:
                raise _stopped()
            self._scheduler.add(image)
            self._changed.notify()

    def abort(self, image: RequestState) -> None:
        """Let an image leave at the next step boundary; harmless where it has left."""
        with self._changed:
            image.cancelled = True
            self._changed.notify()

    def stats(self) -> EngineStats:
        """Return the counters."""
        with self._changed:
            return EngineStats(
                unet_rows=self._unet_rows,
                unet_batches=self._unet_batches,
                retired=self._retired,
                aborted=self._aborted,
                running=len(self._scheduler.running),
                waiting=len(self._scheduler.waiting),
            )

    def load(self) -> EngineLoad:
        """Return what is left to do."""
        with self._changed:
            return engine_load(
                self._scheduler.waiting,
                self._scheduler.running,
                time.monotonic(),
                step_s=self._step_s.value,
                row_cap=self.row_caps.get(self._native_pixels),
            )

    def stalled_s(self) -> float:
        """Return how many seconds the step that runs now has taken; 0 between steps."""
        started = self._step_started_s
        return 0.0 if started is None else time.monotonic() - started

    def check_health(self, stall_timeout_s: float) -> None:
        """Raise RuntimeError where the loop has ended, hangs in a step, or only fails."""
        if self._looping is None or self._looping.done():
            raise RuntimeError("the denoise engine's loop has ended")
        if self.stalled_s() > stall_timeout_s:
            raise RuntimeError(f"a denoise step has run for over {stall_timeout_s} s")
        if self._failed_in_a_row >= MAX_FAILED_IN_A_ROW:
            # A CUDA error stays in its process: only a new one gets rid of it.
            raise RuntimeError(f"the last {self._failed_in_a_row} denoise steps have failed")

    def _loop(self) -> None:
        try:
            self._step_until_stopped()
        except Exception:
            # Its images are told that the replica stops: only the log has the cause.
            logger.exception("the denoise loop has ended")
            raise
        finally:
            # However it ended: who was accepted is answered, and nobody else is accepted.
            with self._changed:
                self._stopping = True
            self._fail(list(self._scheduler.images()), _stopped())

    def _step_until_stopped(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or any(self._scheduler.images()))
                if self._stopping:
                    return
                self._drop_departed()
                batch, admitted = self._scheduler.schedule(time.monotonic())
            if admitted:
                load = self.load()
                for image in admitted:
                    image.emit(Started(load))
            if batch:
                self._run_step(batch, admitted)

    def _drop_departed(self) -> None:
        for image in self._scheduler.images():
            if image.cancelled:
                self._scheduler.remove(image)
                self._aborted += 1
                image.emit(Finished(None))

    def _run_step(self, batch: list[RequestState], admitted: list[RequestState]) -> None:
        started_s = self._step_started_s = time.monotonic()
        try:
            for image in admitted:
                image.to_device(self._runner.device, self._runner.dtype)
            rows, denoised = self._denoise(batch)
        except Exception as error:
            logger.exception("a denoise step failed")
            self._failed_in_a_row += 1
            self._fail(batch, error)
            return
        finally:
            self._step_started_s = None
        self._failed_in_a_row = 0
        with self._changed:
            self._unet_batches += 1
            self._unet_rows += rows
        duration_s = time.monotonic() - started_s
        self._step_s.add(duration_s)
        self._report(batch, denoised, rows, duration_s)

    @torch.inference_mode()
    def _denoise(self, batch: list[RequestState]) -> tuple[int, torch.Tensor]:
        """Run one step of each image; return its rows and the denoised estimates."""
        padded = self._runner.padded_rows(sum(image.rows for image in batch))
        inputs = InputBatch.gather(batch, padded)
        model_output = inputs.guided(self._runner.run(inputs))
        denoised = pred_original_sample(
            inputs.latents, model_output, inputs.sigma, self._prediction_type
        )
        stepped = euler_step(inputs.latents, denoised, inputs.sigma, inputs.sigma_next)
        for b, image in enumerate(batch):
            one = slice(b, b + 1)
            if image.sampling.solver == "euler_ancestral":
                noise = torch.randn(image.latents.shape, generator=image.generator)
                stepped[b] = ancestral_step(
                    inputs.latents[one],
                    denoised[one],
                    inputs.sigma[one],
                    inputs.sigma_next[one],
                    noise[None].to(image.latents.device),
                )[0]
            image.latents = stepped[b]
            image.step_index += 1
        self._runner.synchronize()
        return inputs.rows, denoised

    def _report(
        self, batch: list[RequestState], denoised: torch.Tensor, rows: int, duration_s: float
    ) -> None:
        load = self.load()
        for b, image in enumerate(batch):
            step = image.step_index
            image.emit(
                Stepped(
                    step=step,
                    timestep=float(image.schedule.timesteps[step - 1]),
                    sigma=float(image.schedule.sigmas[step - 1]),
                    duration_s=duration_s,
                    batch_rows=rows,
                    load=load,
                    denoised=denoised[b].cpu() if image.preview_is_due else None,
                )
            )
            if image.done:
                with self._changed:
                    self._scheduler.remove(image)
                    self._retired += 1
                image.emit(Finished(image.latents.cpu()))

    def _fail(self, images: Sequence[RequestState], error: Exception) -> None:
        for image in images:
            with self._changed:
                self._scheduler.remove(image)
                self._aborted += 1
            image.emit(Finished(None, error))


def _stopped() -> UnavailableError:
    return UnavailableError("STAGE_STOPPING", "the denoiser replica is shutting down", 1.0)
