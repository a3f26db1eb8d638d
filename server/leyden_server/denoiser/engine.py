"""The step-batching loop: schedule → gather → run → step → scatter, in a thread of its own."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import torch

from leyden_server.accelerator.cores import CoreShare
from leyden_server.accelerator.row_caps import RowCaps, measure_row_cap
from leyden_server.accelerator.row_times import RowTimes
from leyden_server.accelerator.run_health import RunHealth, memory_errors
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.denoiser.load import RunningMean, engine_load
from leyden_server.denoiser.owed import Owed
from leyden_server.denoiser.request_state import Finished, RequestState, Started, Stepped
from leyden_server.denoiser.step_scheduler import StepScheduler
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.errors import UnavailableError
from leyden_server.stages.busy import BusyClock
from leyden_server.stages.contract import EngineLoad, EngineStats
from leyden_server.stages.tally import UNetRun

__all__ = ["DenoiseEngine"]

logger = logging.getLogger(__name__)


class DenoiseEngine:
    """Runs many images' denoising loops through one UNet.

    `submit`, `abort` and the readings may be called from any thread; each image's `emit`
    is called in the engine's. An image that was submitted always gets a `Finished`.
    """

    def __init__(
        self,
        thread: TorchThread,
        runner: UNetRunner,
        max_batch_rows: int,
        cores: CoreShare | None = None,
    ) -> None:
        """`thread` is the one that loaded the runner; the loop takes it over in `start`.

        Steps run by `cores`; None: all in that thread.
        """
        self.row_caps = RowCaps()
        self.owed = Owed()
        """What callers are still to be told."""
        self._runner = runner
        self._cores = cores or CoreShare()
        self._max_batch_rows = max_batch_rows
        self._scheduler: StepScheduler[RequestState] = StepScheduler(
            lambda key, there: self.row_caps.paying(key.latent_pixels, there)
        )
        self._changed = threading.Condition()
        self._stopping = False
        self._step_started_s: float | None = None
        self._health = RunHealth()
        self._step_s = RunningMean()
        self.busy = BusyClock()
        """When steps have run."""
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
            _, seconds = self._thread.run(measure_row_cap, run, self._max_batch_rows)
            times = RowTimes.of(seconds, padded=self._runner.pads)
            self.row_caps.set_times(height * width, times)
            timings = {rows: round(duration, 4) for rows, duration in seconds.items()}
            logger.info("latents %dx%d: cap %d rows; seconds %s", height, width, times.cap, timings)
        height, width = latent_sizes[0]
        self._cores.measure(partial(self._runner.time_rows, 1, height, width))

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
        self._health.check()

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
        while (batch := self._next_batch()) is not None:
            self._run(batch)

    def _next_batch(self) -> list[RequestState] | None:
        """Wait for images and return who shares the next step; None: the engine stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or any(self._scheduler.images()))
            if self._stopping:
                return None
            self._drop_departed()
            batch, admitted = self._scheduler.schedule(time.monotonic())
        if admitted:
            load = self.load()
            for image in admitted:
                image.emit(Started(load))
        return batch

    def _drop_departed(self) -> None:
        for image in self._scheduler.images():
            if image.cancelled:
                self._remove(image)
                self._aborted += 1
                self.owed.left(image.rows * image.steps_left)
                image.emit(Finished(None))

    def _run(self, batch: list[RequestState]) -> None:
        """Run one step of each image; where that fails, of each image alone, once."""
        if not batch:
            return
        started_s = time.monotonic()
        try:
            denoised = self._attempt(batch)
        except Exception as error:
            logger.exception("a denoise step of %d images failed", len(batch))
            self._health.note_failure(error)
            if len(batch) == 1:
                self._fail(batch, error)
                return
            if isinstance(error, MemoryError):
                self.row_caps.limit(batch[0].batch_key.latent_pixels, _rows(batch[:-1]))
        else:
            self._health.note_success()
            self._report(batch, denoised, time.monotonic() - started_s)
            return
        # Out here nothing holds the tensors of the run that failed: there may be room now.
        for image in batch:
            if not image.cancelled:
                self._run([image])

    def _attempt(self, batch: list[RequestState]) -> torch.Tensor:
        """Run a step where `stalled_s` sees it; too little memory is a MemoryError."""
        self._step_started_s = time.monotonic()
        try:
            with self.busy.running(), memory_errors():
                what = (batch[0].batch_key, _rows(batch))
                return self._cores.run(what, self._denoise, batch)
        finally:
            self._step_started_s = None

    @torch.inference_mode()
    def _denoise(self, batch: list[RequestState]) -> torch.Tensor:
        """Return each image's denoised estimate (B, C, H, W); a failure changes no image."""
        for image in batch:
            image.to_device(
                self._runner.device, self._runner.dtype, self._runner.encoder_hidden_states
            )
        inputs = InputBatch.gather(batch, self._runner.padded_rows(_rows(batch)))
        denoised = inputs.denoised(inputs.guided(self._runner.run(inputs)))
        stepped = inputs.stepped(denoised)
        self._runner.synchronize()
        inputs.scatter(stepped, denoised)
        return denoised

    def _report(self, batch: list[RequestState], denoised: torch.Tensor, duration_s: float) -> None:
        rows, ended_s = _rows(batch), time.time()
        with self._changed:
            self._unet_batches += 1
            self._unet_rows += rows
        self.owed.ran(UNetRun(rows, self._runner.padded_rows(rows) - rows, duration_s))
        self._step_s.add(duration_s)
        load = self.load()
        for b, image in enumerate(batch):
            index = image.step_index - 1
            image.emit(
                Stepped(
                    step=image.step_index - image.schedule.start,
                    timestep=float(image.schedule.timesteps[index]),
                    sigma=float(image.schedule.sigmas[index]),
                    started_s=ended_s - duration_s,
                    duration_s=duration_s,
                    batch_rows=rows,
                    load=load,
                    denoised=denoised[b].cpu() if image.preview_is_due else None,
                    is_last=image.done,
                )
            )
            if image.done:
                with self._changed:
                    self._remove(image)
                    self._retired += 1
                image.emit(Finished(image.latents.cpu()))

    def _remove(self, image: RequestState) -> None:
        self._scheduler.remove(image)
        # The largest thing it has, and its caller may keep it for a while.
        image.encoder_hidden_states = None

    def _fail(self, images: Sequence[RequestState], error: Exception) -> None:
        for image in images:
            with self._changed:
                self._remove(image)
                self._aborted += 1
            image.emit(Finished(None, error))


def _rows(images: Sequence[RequestState]) -> int:
    return sum(image.rows for image in images)


def _stopped() -> UnavailableError:
    return UnavailableError("STAGE_STOPPING", "the denoiser replica is shutting down", 1.0)
