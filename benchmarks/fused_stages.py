"""The three stages in one process, without Ray: what the split is compared with.

The model code is the deployments' own, with a torch thread for each stage as they have. What
differs is what carries a request from stage to stage: a function call here, Ray Serve there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from leyden_server.accelerator.row_caps import measure_row_cap
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import ServerConfig
from leyden_server.denoiser.service import DenoiseService
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DecodedImage, DecodeRequest, EncodedPrompt, FloatArray
from leyden_server.text_encoder.encoder import PromptEncoder
from leyden_server.vae.decoder import VaeDecoder
from leyden_server.vae.image_file import encode_image

__all__ = ["FusedStages"]

CPU = torch.device("cpu")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Whatever came while the last batch ran makes the next one, as in the deployments."""

    def __init__(
        self, run: Callable[[list[Item]], Awaitable[list[Result]]], max_batch: int
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Run `item` in a batch; raises what the batch raises."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            try:
                results = await self._run([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - everyone in the batch gets it
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.cancelled():
                    future.set_result(result)


class FusedStages:
    """A model's stages, loaded and warmed up, with the threads that the config gives each."""

    def __init__(self, model: ResolvedModel, config: ServerConfig) -> None:
        self.model = model
        dtype = torch.float32
        threads = config.text_encoder.torch_threads
        self._encode_thread = TorchThread("text-encoder", threads)
        self._encoder = self._encode_thread.run(
            PromptEncoder, model, dtype=dtype, device=CPU, replica="monolith"
        )
        self._encode_thread.run(self._encoder.encode, ["warm-up"])
        self.denoiser = DenoiseService(model, config.denoiser, "monolith")
        self._vae_thread = TorchThread("vae", config.vae.torch_threads)
        self._decoder = self._vae_thread.run(VaeDecoder, model, dtype=dtype, device=CPU)
        factor = model.vae_scale_factor
        time_rows = partial(
            self._decoder.time_rows,
            latent_height=model.height_px // factor,
            latent_width=model.width_px // factor,
        )
        cap, _ = self._vae_thread.run(measure_row_cap, time_rows, config.vae.max_batch_images)
        self._encode_threads = ThreadPoolExecutor(config.vae.encode_threads)
        self.encode: Batcher[str, EncodedPrompt] = Batcher(
            self._encode_batch, config.text_encoder.max_batch_prompts
        )
        self._decode_batch: Batcher[FloatArray, NDArray[np.uint8]] = Batcher(self._decode, cap)

    def stop(self) -> None:
        """Stop the engine."""
        self.denoiser.stop()

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image of the native size and encode it."""
        started_s = time.perf_counter()
        pixels = await self._decode_batch(request.latents)
        decoded_s = time.perf_counter()
        data = await asyncio.get_running_loop().run_in_executor(
            self._encode_threads,
            encode_image,
            pixels,
            request.format,
            request.quality,
            request.parameters,
        )
        height_px, width_px, _ = pixels.shape
        return DecodedImage(
            data=data,
            width_px=width_px,
            height_px=height_px,
            vae_decode_s=decoded_s - started_s,
            image_encode_s=time.perf_counter() - decoded_s,
            replica="monolith",
        )

    async def _encode_batch(self, prompts: list[str]) -> list[EncodedPrompt]:
        return await self._encode_thread.arun(self._encoder.encode, prompts)

    async def _decode(self, latents: list[FloatArray]) -> list[NDArray[np.uint8]]:
        return await self._vae_thread.arun(self._decoder.decode, latents)
