"""The three stages in one process, without Ray, and a gate in front of the UNet."""

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.patience import PATIENCE_S
from support.random_sdxl import write_random_sdxl
from support.reference import Image

from leyden_server.config import DenoiserConfig, TextEncoderConfig, UNetExecution, VaeConfig
from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.denoiser.service import DenoiseService
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.sampling import Sampling
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import (
    Denoised,
    DenoiseEvent,
    DenoiseRequest,
    EncodedPrompt,
    FloatArray,
    StepDone,
)
from leyden_server.text_encoder.encoder import PromptEncoder
from leyden_server.text_encoder.service import TextEncodingService
from leyden_server.vae.decoder import VaeDecoder
from leyden_server.vae.service import VaeService

TOKENIZER_FROM = (
    Path(__file__).resolve().parents[2] / "server" / "leyden_server" / "models" / "leyden-tiny-base"
)
Loop = asyncio.Future[list[DenoiseEvent]]


def write_model(folder: Path, model_yaml: str, **shape: Any) -> ResolvedModel:
    """Write a random SDXL with a `model.yaml` (none where it is empty) and resolve it."""
    write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM, **shape)
    if model_yaml:
        (folder / "model.yaml").write_text(model_yaml, encoding="utf-8")
    return ModelRepository([folder]).resolve(folder.name)


def load_denoiser(
    model: ResolvedModel, *, row_cap: int = 8, execution: UNetExecution = "auto"
) -> DenoiseService:
    """Load a Denoiser whose batches have `row_cap` rows, whatever this machine measures."""
    config = DenoiserConfig(
        max_batch_rows=1, dtype="float32", torch_threads=1, unet_execution=execution
    )
    service = DenoiseService(model, config, "denoiser#1")
    for latent_pixels in service._engine.row_caps.as_dict():
        service._engine.row_caps.set(latent_pixels, row_cap)
    return service


def load_text_encoding(model: ResolvedModel, **config: Any) -> TextEncodingService:
    config = {"dtype": "float32", "torch_threads": 1, **config}
    return TextEncodingService(model, TextEncoderConfig(**config), "text_encoder#1")


def load_vae(model: ResolvedModel, *, row_cap: int = 4, **config: Any) -> VaeService:
    """Load a VAE whose batches have `row_cap` images, whatever this machine measures."""
    config = {"max_batch_images": 1, "dtype": "float32", "torch_threads": 1, **config}
    service = VaeService(model, VaeConfig(**config), "vae#1")
    for latent_pixels in service._row_caps.as_dict():
        service._row_caps.set(latent_pixels, row_cap)
    return service


@dataclass(frozen=True)
class Stages:
    """A model's three stages in this process."""

    model: ResolvedModel
    encoder: PromptEncoder
    denoiser: DenoiseService
    decoder: VaeDecoder

    @classmethod
    def load(cls, model: ResolvedModel, *, row_cap: int = 8) -> "Stages":
        cpu = torch.device("cpu")
        return cls(
            model,
            PromptEncoder(model, dtype=torch.float32, device=cpu, replica="text_encoder#1"),
            load_denoiser(model, row_cap=row_cap),
            VaeDecoder(model, dtype=torch.float32, device=cpu),
        )

    def request(
        self, prompt: str, *, negative_prompt: str | None = None, **sampling: Any
    ) -> DenoiseRequest:
        """Make what the Gateway would send for these fields of a request."""
        request = sampled(plain_request(self.model, self._encode(prompt)), **sampling)
        zeroed = not negative_prompt and self.model.zeroes_empty_negative_prompt
        if self.model.rows(request.sampling.guidance_scale) > 1 and not zeroed:
            encoded = self._encode(negative_prompt or "")
            request = dataclasses.replace(request, negative_prompt=encoded)
        return request

    async def images(self, requests: Sequence[DenoiseRequest]) -> list[Image]:
        """Denoise all requests side by side and decode them."""
        runs = await self.runs(requests)
        return [self.decoder.decode([latents_of(events)])[0] for events in runs]

    async def runs(self, requests: Sequence[DenoiseRequest]) -> list[list[DenoiseEvent]]:
        """Denoise all requests side by side, from the first step on as far as they have room."""
        engine = self.denoiser._engine
        tasks = [asyncio.create_task(events_of(self.denoiser, request)) for request in requests]
        with engine._changed:  # no step is chosen meanwhile
            await asyncio.sleep(0)  # one turn of the event loop: up to the first wait of each
            assert len([*engine._scheduler.images()]) == len(requests)
        return await asyncio.gather(*tasks)

    def _encode(self, text: str) -> EncodedPrompt:
        return self.encoder.encode([text])[0]


def plain_request(model: ResolvedModel, prompt: EncodedPrompt) -> DenoiseRequest:
    """Return a request for one image of the native size in four steps without guidance."""
    return DenoiseRequest(
        request_id="test",
        image_index=0,
        sampling=Sampling(
            seed=0,
            width_px=model.width_px,
            height_px=model.height_px,
            num_inference_steps=4,
            guidance_scale=0.0,
            solver=model.solvers[0],
        ),
        prompt=prompt,
        negative_prompt=None,
        order=TravellingOrder(),
        preview=None,
    )


def sampled(request: DenoiseRequest, **fields: Any) -> DenoiseRequest:
    """Return the request with some fields of its sampling replaced."""
    return dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, **fields))


def random_prompt(service: DenoiseService, seed: int = 0) -> EncodedPrompt:
    """Return embeddings of the UNet's widths, for tests to which no text matters."""
    width, pooled_width = service._runner.conditioning
    rng = np.random.default_rng(seed)
    return EncodedPrompt(
        prompt_embeds=rng.standard_normal((77, width), dtype=np.float32),
        pooled_prompt_embeds=rng.standard_normal(pooled_width, dtype=np.float32),
        token_count=3,
        truncated=False,
        replica="text_encoder#1",
    )


async def events_of(service: DenoiseService, request: DenoiseRequest) -> list[DenoiseEvent]:
    """Run one image's loop to its end."""
    return [event async for event in service.denoise(request)]


async def submitted(service: DenoiseService, request: DenoiseRequest) -> Loop:
    """Start a request and return once the engine has it."""
    before = await service.stats()
    loop = asyncio.ensure_future(events_of(service, request))
    await asyncio.sleep(0)  # one turn of the event loop: up to the first wait of it
    after = await service.stats()
    assert after.waiting + after.running == before.waiting + before.running + 1
    return loop


def batch_rows(events: Sequence[DenoiseEvent]) -> list[int]:
    return [step.batch_rows for step in steps_of(events)]


def steps_of(events: Sequence[DenoiseEvent]) -> list[StepDone]:
    return [event for event in events if isinstance(event, StepDone)]


def latents_of(events: Sequence[DenoiseEvent]) -> FloatArray:
    last = events[-1]
    assert isinstance(last, Denoised)
    return last.latents


class Gate:
    """Stands before every real UNet run: notes its rows, and lets it through when told."""

    def __init__(self, run: Callable[[InputBatch], torch.Tensor]) -> None:
        self.rows: list[int] = []
        """Rows of each run that has come to the gate."""
        self._run = run
        self._let = 0
        self._open = False
        self._failure: Exception | None = None
        self._changed = threading.Condition()

    def __call__(self, batch: InputBatch) -> torch.Tensor:
        with self._changed:
            self.rows.append(batch.rows)
            number = len(self.rows)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._open or self._let >= number, PATIENCE_S):
                raise TimeoutError("the test left the gate shut")
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return self._run(batch)

    def let(self, runs: int = 1) -> None:
        """Let so many more runs through."""
        with self._changed:
            self._let += runs
            self._changed.notify_all()

    def open(self) -> None:
        """Let all runs through from now on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def fail_once(self, error: Exception) -> None:
        """Let the run that waits, or else the next one, raise `error` in place of running."""
        with self._changed:
            self._failure = error

    async def arrival(self, runs: int) -> None:
        """Wait until so many runs, since the start, have come to the gate."""
        await asyncio.to_thread(self._wait_for_arrival, runs)

    def _wait_for_arrival(self, runs: int) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.rows) >= runs, PATIENCE_S):
                raise TimeoutError(f"{len(self.rows)} runs came, {runs} were awaited")


def reference_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the fields of `Stages.request` to those of `reference_images`."""
    names = {"width_px": "width", "height_px": "height"}
    return {names.get(name, name): value for name, value in request.items()}
