"""One request's way through the three stages."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import UnavailableError
from leyden_server.gateway.leyden_v1 import encoding as build
from leyden_server.generations.catalog import ServedModel
from leyden_server.generations.event_log import EventStream
from leyden_server.generations.line import Ticket
from leyden_server.generations.rules import GenerationParameters, RequestWarning
from leyden_server.sampling import Sampling
from leyden_server.service_order import DEFAULT_PRIORITY, ServiceOrder
from leyden_server.stages.contract import (
    DecodedImage,
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
    """Encodes the prompt, then denoises and decodes each image, all images side by side.

    `run` puts every event of the request into `events`, the summary last, and closes it.
    """

    def __init__(
        self,
        parameters: GenerationParameters,
        served: ServedModel,
        ticket: Ticket,
        events: EventStream,
        config: GatewayConfig,
        *,
        timeout_s: float | None,
        replica: str,
    ) -> None:
        self.retries = 0
        self._parameters = parameters
        self._served = served
        self._ticket = ticket
        self._events = events
        self._config = config
        self._accepted_s = time.monotonic()
        deadline_s = None if timeout_s is None else self._accepted_s + timeout_s
        self._order = ServiceOrder(DEFAULT_PRIORITY, self._accepted_s, deadline_s)
        self._first_step_started_s: float | None = None
        self._warnings: list[RequestWarning] = []
        self.bill = pb.Bill(
            gateway_replica=replica,
            images=[pb.ImageBill(image_index=i) for i in range(parameters.image_count)],
        )

    async def run(self) -> None:
        """Run to the summary.

        Raises:
            RequestError: a stage refused or failed, and retries did not help.

        """
        async with asyncio.TaskGroup() as tasks:
            place_reports = tasks.create_task(self._report_places())
            prompt, negative_prompt = await self._encode_text()
            async with asyncio.TaskGroup() as images:
                for index in range(self._parameters.image_count):
                    images.create_task(self._make_image(index, prompt, negative_prompt))
            place_reports.cancel()
        self.bill.total_duration.CopyFrom(build.duration(self._elapsed_s()))
        self._events.put(
            build.summary(
                self._parameters,
                [*self._parameters.warnings, *self._warnings],
                self._served.info.revision if self._served.info else "",
                self.retries,
                self.bill,
            )
        )
        self._events.close()

    async def _report_places(self) -> None:
        async for ahead, expected_wait_s in self._ticket.places():
            if self._first_step_started_s is not None:
                return
            self._events.put(build.queued(ahead, expected_wait_s))

    async def _encode_text(self) -> tuple[EncodedPrompt, EncodedPrompt | None]:
        started_s = time.monotonic()
        parameters = self._parameters
        zeroed = not parameters.negative_prompt and parameters.model.zeroes_empty_negative_prompt
        texts = [parameters.prompt]
        if parameters.guided and not zeroed:
            texts.append(parameters.negative_prompt)
        async with asyncio.TaskGroup() as encodings:
            tasks = [
                encodings.create_task(self._retrying(partial(self._encode, text))) for text in texts
            ]
        prompt, *negative = (task.result() for task in tasks)
        self.bill.text_encode_duration.CopyFrom(build.duration(time.monotonic() - started_s))
        self.bill.text_encoder_replica = prompt.replica
        self._warn_of_truncation("prompt", prompt)
        for encoded in negative:
            self._warn_of_truncation("negative_prompt", encoded)
        self._events.put(build.text_encoded(prompt))
        return prompt, negative[0] if negative else None

    async def _encode(self, text: str) -> EncodedPrompt:
        encoded: EncodedPrompt = await self._served.text_encoder.call("encode", text)
        return encoded

    async def _make_image(
        self, index: int, prompt: EncodedPrompt, negative_prompt: EncodedPrompt | None
    ) -> None:
        steps_sent = 0

        async def denoise() -> FloatArray:
            nonlocal steps_sent
            request = self._denoise_request(index, prompt, negative_prompt)
            stream = self._served.denoiser.stream("denoise", request)
            async with contextlib.aclosing(stream) as items:
                async for item in items:
                    match item:
                        case DenoiseStarted(replica=replica):
                            loop_started_s = self._note_start(index, replica)
                        case StepDone() if item.step > steps_sent:
                            steps_sent = item.step
                            self._report_step(index, item, time.monotonic() - loop_started_s)
                        case Denoised(latents=latents):
                            self._ticket.finished(index)
                            return latents
            raise UnavailableError("STAGE_DIED", "the denoiser's stream broke off", 1.0)

        def start_again() -> None:
            # The same seed takes the same way; steps that were already sent are passed over.
            self._ticket.restarted(index)

        latents = await self._retrying(denoise, start_again)
        decode_request = DecodeRequest(
            latents,
            self._parameters.format,
            self._parameters.quality,
            self._provenance(index),
            self._order.travelling(),
        )
        decode = partial(
            self._served.vae.call,
            "decode",
            decode_request,
            result_bytes=3 * self._parameters.width_px * self._parameters.height_px,
        )
        image: DecodedImage = await self._retrying(decode)
        image_bill = self.bill.images[index]
        image_bill.vae_decode_duration.CopyFrom(build.duration(image.vae_decode_s))
        image_bill.image_encode_duration.CopyFrom(build.duration(image.image_encode_s))
        image_bill.image_decoder_replica = image.replica
        self._events.put(*build.image_events(index, image, self._parameters))

    async def _retrying(
        self, run: Callable[[], Awaitable[Result]], before_retry: Callable[[], None] = lambda: None
    ) -> Result:
        for _ in range(self._config.stage_retries):
            try:
                return await run()
            except UnavailableError as error:
                if error.reason not in {"STAGE_DIED", "STAGE_STOPPING"}:
                    raise
                self.retries += 1
                before_retry()
        return await run()

    def _denoise_request(
        self, index: int, prompt: EncodedPrompt, negative_prompt: EncodedPrompt | None
    ) -> DenoiseRequest:
        parameters = self._parameters
        sampling = Sampling(
            seed=parameters.seed,
            width_px=parameters.width_px,
            height_px=parameters.height_px,
            num_inference_steps=parameters.num_inference_steps,
            guidance_scale=parameters.guidance_scale,
            solver=parameters.solver,
        )
        return DenoiseRequest(
            request_id=parameters.request_id,
            image_index=index,
            sampling=sampling.of_image(index),
            prompt=prompt,
            negative_prompt=negative_prompt,
            order=self._order.travelling(),
            preview=parameters.preview,
        )

    def _note_start(self, index: int, replica: str) -> float:
        now = time.monotonic()
        self._ticket.started(index)
        self.bill.images[index].denoiser_replica = replica
        if self._first_step_started_s is None:
            self._first_step_started_s = now
            encode_s = self.bill.text_encode_duration.ToTimedelta().total_seconds()
            self.bill.queue_duration.CopyFrom(build.duration(self._elapsed_s() - encode_s))
        return now

    def _report_step(self, index: int, step: StepDone, loop_s: float) -> None:
        self.bill.images[index].steps.append(
            pb.StepBill(duration=build.duration(step.duration_s), batch_rows=step.batch_rows)
        )
        total_steps = self._parameters.num_inference_steps
        self._events.put(
            build.denoise_progress(index, step, total_steps, self._elapsed_s(), loop_s)
        )

    def _provenance(self, index: int) -> dict[str, object]:
        """Return what makes this image again; the file carries it."""
        parameters = self._parameters
        return {
            "model": parameters.model.name,
            "model_revision": self._served.info.revision if self._served.info else "",
            "prompt": parameters.prompt,
            "negative_prompt": parameters.negative_prompt,
            "seed": parameters.seed + index,
            "width_px": parameters.width_px,
            "height_px": parameters.height_px,
            "num_inference_steps": parameters.num_inference_steps,
            "guidance_scale": parameters.guidance_scale,
            "solver": parameters.solver,
        }

    def _warn_of_truncation(self, field: str, prompt: EncodedPrompt) -> None:
        if prompt.truncated:
            limit = self._parameters.model.max_prompt_tokens
            self._warnings.append(
                RequestWarning(
                    f"{field.upper()}_TRUNCATED",
                    field,
                    f"{prompt.token_count} tokens; what goes past {limit} was cut",
                )
            )

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._accepted_s
