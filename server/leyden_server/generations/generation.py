"""One generation: a plan of stages, and the events that it leaves in its log.

encode text → denoise each image → decode each image, all images side by side
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

from leyden_server.config import GatewayConfig
from leyden_server.errors import UnavailableError
from leyden_server.generations.costs import Costs
from leyden_server.generations.event_log import EventLog
from leyden_server.generations.events import (
    DenoiseProgress,
    Event,
    Image,
    Queued,
    Summary,
    TextEncoded,
    image_events,
)
from leyden_server.generations.line import Place
from leyden_server.generations.notes import Notes
from leyden_server.generations.parameters import GenerationParameters, RequestWarning
from leyden_server.generations.served_model import ServedModel
from leyden_server.stages.contract import (
    DecodeRequest,
    Denoised,
    DenoiseRequest,
    DenoiseStarted,
    EncodedPrompt,
    FloatArray,
    StepDone,
)

__all__ = ["Generation"]

Result = TypeVar("Result")


class Generation:
    """Takes one request through the stages, and puts every event into its log."""

    def __init__(
        self,
        parameters: GenerationParameters,
        served: ServedModel,
        place: Place,
        log: EventLog,
        *,
        config: GatewayConfig,
        replica: str,
        notes: Notes,
    ) -> None:
        self.costs = Costs(parameters)
        self.served = served
        self._parameters = parameters
        self._place = place
        self._log = log
        self._config = config
        self._replica = replica
        self._notes = notes
        self._spoke_s = time.monotonic()
        self._warnings: list[RequestWarning] = []
        self._silence: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Run to the summary.

        Raises:
            RequestError: a stage refused or failed, and retries did not help.

        """
        self._place.on_move = self._tell_place
        self._tell_place(*self._place.told)
        self._watch_silence()
        try:
            prompt, negative_prompt = await self._encode_text()
            await _side_by_side(
                partial(self._make_image, index, prompt, negative_prompt)
                for index in range(self._parameters.image_count)
            )
        finally:
            self._place.on_move = _say_nothing
            if self._silence is not None:
                self._silence.cancel()
        self._put(
            Summary(
                warnings=(*self._parameters.warnings, *self._warnings),
                model=self._parameters.model.name,
                model_revision=self.served.revision,
                retries=self.costs.retries,
                sampling=self._parameters.sampling,
                bill=self.costs.bill(self._replica),
            )
        )

    async def _encode_text(self) -> tuple[EncodedPrompt, EncodedPrompt | None]:
        started_s = time.monotonic()
        parameters = self._parameters
        zeroed = not parameters.negative_prompt and parameters.model.zeroes_empty_negative_prompt
        texts = [parameters.prompt]
        if parameters.rows > 1 and not zeroed:
            texts.append(parameters.negative_prompt)
        encode = self.served.text_encoder.encode
        prompt, *negative = await _side_by_side(
            partial(self._retrying, "text_encoder", partial(encode, text)) for text in texts
        )
        self.costs.encoded(time.monotonic() - started_s, prompt.replica)
        self._notes.encoded(prompt, *negative)
        self._warn_of_truncation("prompt", prompt)
        for encoded in negative:
            self._warn_of_truncation("negative_prompt", encoded)
        self._put(TextEncoded(prompt.token_count, prompt.truncated))
        return prompt, negative[0] if negative else None

    async def _make_image(
        self, index: int, prompt: EncodedPrompt, negative_prompt: EncodedPrompt | None
    ) -> None:
        parameters = self._parameters

        def start_again() -> None:
            # The same seed takes the same way; steps that were already sent are passed over.
            self._place.restarted(index)

        latents = await self._retrying(
            "denoiser", partial(self._denoise, index, prompt, negative_prompt), start_again
        )
        decode_request = DecodeRequest(
            latents=latents,
            format=parameters.format,
            quality=parameters.quality,
            parameters=self._provenance(index),
            order=self._place.order.travelling(),
        )
        image = await self._retrying("vae", partial(self.served.vae.decode, decode_request))
        self.costs.decoded(index, image)
        self._notes.decoded(index, image)
        self._put(
            *image_events(
                Image(
                    image_index=index,
                    seed=parameters.sampling.seed + index,
                    format=parameters.format,
                    width_px=image.width_px,
                    height_px=image.height_px,
                    size_bytes=len(image.data),
                    data=image.data,
                )
            )
        )

    async def _denoise(
        self, index: int, prompt: EncodedPrompt, negative_prompt: EncodedPrompt | None
    ) -> FloatArray:
        waits_since_s = time.time()
        await self._place.turn(index)
        request = DenoiseRequest(
            request_id=self._parameters.request_id,
            image_index=index,
            sampling=self._parameters.sampling.of_image(index),
            prompt=prompt,
            negative_prompt=negative_prompt,
            order=self._place.order.travelling(),
            preview=self._parameters.preview,
        )
        loop_started_s = 0.0
        self.costs.handed(index)
        async with contextlib.aclosing(self.served.denoiser.denoise(request)) as items:
            async for item in items:
                match item:
                    case StepDone():
                        if item.step == 1:
                            self._notes.queued(index, waits_since_s, item.started_s)
                        self._note_step(index, item, time.monotonic() - loop_started_s)
                    case DenoiseStarted(replica=replica):
                        loop_started_s = time.monotonic()
                        self.costs.started(index, replica)
                        self._place.started(index)
                    case Denoised(latents=latents):
                        self._place.finished(index)
                        self.costs.denoised(index)
                        return latents
        raise UnavailableError("STAGE_DIED", "the denoiser's stream broke off", 1.0)

    async def _retrying(
        self,
        stage: str,
        run: Callable[[], Coroutine[Any, Any, Result]],
        before_retry: Callable[[], None] = lambda: None,
    ) -> Result:
        for _ in range(self._config.stage_retries):
            try:
                return await run()
            except UnavailableError as error:
                if error.reason not in {"STAGE_DIED", "STAGE_STOPPING"}:
                    raise
                self.costs.retries += 1
                self._notes.retried(stage)
                before_retry()
        return await run()

    def _note_step(self, index: int, step: StepDone, loop_s: float) -> None:
        replica = self.costs.denoiser_replica(index)
        total_steps = self._parameters.sampling.num_inference_steps
        self._place.stepped(index, total_steps - step.step, step.duration_s)
        self.served.line.note_load(replica, step.load)
        self._notes.stepped(index, replica, step)
        if not self.costs.stepped(index, step):
            return  # sent already, before a replica died
        self._put(
            DenoiseProgress(
                image_index=index,
                step=step.step,
                total_steps=total_steps,
                timestep=step.timestep,
                sigma=step.sigma,
                elapsed_s=self.costs.elapsed_s(),
                remaining_s=loop_s / step.step * (total_steps - step.step),
                batch_rows=step.batch_rows,
                preview=step.preview,
            )
        )

    def _put(self, *events: Event) -> None:
        self._log.put(*events)
        self._spoke_s = time.monotonic()

    def _tell_place(self, position: int, wait_s: float | None) -> None:
        self._put(Queued(position, wait_s))

    def _watch_silence(self) -> None:
        """Say where it stands whenever nothing was said for long: proxies cut idle streams."""
        interval_s = self._config.queued_interval_s
        silent_s = time.monotonic() - self._spoke_s
        if silent_s >= interval_s and self._waits:
            self._tell_place(*self._place.now())
        left_s = interval_s - (time.monotonic() - self._spoke_s)
        self._silence = asyncio.get_running_loop().call_later(
            left_s if left_s > 0 else interval_s, self._watch_silence
        )

    @property
    def _waits(self) -> bool:
        """Whether it waits for its turn, or for a stage to start."""
        return self._place.waiting > 0 or self.served.starts

    def _provenance(self, index: int) -> dict[str, object]:
        """Return what makes this image again; the file carries it."""
        sampling = self._parameters.sampling.of_image(index)
        return {
            "model": self._parameters.model.name,
            "model_revision": self.served.revision,
            "prompt": self._parameters.prompt,
            "negative_prompt": self._parameters.negative_prompt,
            **sampling.as_dict(),
        }

    def _warn_of_truncation(self, name: str, prompt: EncodedPrompt) -> None:
        if prompt.truncated:
            limit = self._parameters.model.max_prompt_tokens
            self._warnings.append(
                RequestWarning(
                    f"{name.upper()}_TRUNCATED",
                    name,
                    f"{prompt.token_count} tokens; what goes past {limit} was cut",
                )
            )


def _say_nothing(position: int, wait_s: float | None) -> None:
    del position, wait_s


async def _side_by_side(
    runs: Iterable[Callable[[], Coroutine[Any, Any, Result]]],
) -> list[Result]:
    """Run all at once; the first error ends the others. One alone needs no task of its own."""
    first, *others = runs
    if not others:
        return [await first()]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(run()) for run in (first, *others)]
    return [task.result() for task in running]
