"""The third stage as a service: the VAE in one thread, image encoding in others beside it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from leyden_server.accelerator.cores import Cores, CoreShare
from leyden_server.accelerator.device import device_and_dtype, torch_threads
from leyden_server.accelerator.device_memory import MemoryReading
from leyden_server.accelerator.row_caps import RowCaps, measure_row_cap
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import VaeConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.private_text import keep_private
from leyden_server.service_order import ServiceOrder
from leyden_server.stages.batching import Batcher
from leyden_server.stages.contract import (
    DecodedImage,
    DecodeRequest,
    FloatArray,
    ReplicaState,
    StageInfo,
    StageRun,
)
from leyden_server.stages.failures import telling_failures
from leyden_server.vae.decoder import VaeDecoder
from leyden_server.vae.image_file import encode_image
from leyden_server.vae.tile_grid import TileGrid
from leyden_server.vae.tiled_decoding import TiledDecoding

__all__ = ["VaeService"]

Pixels = NDArray[np.uint8]
"""(H, W, 3)."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """An image's pixels, and the run of the VAE that made them."""

    pixels: Pixels
    run: StageRun


class VaeService:
    """Decodes and encodes images for every model with one base.

    Its methods are for one event loop; making it blocks until the VAE is warmed up.
    """

    def __init__(
        self, model: ResolvedModel, config: VaeConfig, replica: str, cores: Cores | None = None
    ) -> None:
        """Load and warm up; raises as `VaeDecoder` and its `time_rows` do.

        `cores` are shared with the process's other stages; None: it has none.
        """
        self._config = config
        self._replica = replica
        device, dtype = device_and_dtype(config.dtype)
        self._memory = MemoryReading(device)
        self._cores = CoreShare(cores)
        self._thread = TorchThread("vae", torch_threads(config) if cores is None else 1)
        self._decoder = self._thread.run(
            VaeDecoder, model, dtype=dtype, device=device, execution=config.vae_execution
        )
        self._tile_share = config.tile_px // model.vae_scale_factor
        self._row_caps = RowCaps()
        self._measure_rows(
            model.height_px // model.vae_scale_factor, model.width_px // model.vae_scale_factor
        )
        self._encode_threads = ThreadPoolExecutor(config.encode_threads, "image-encode")
        self._small: Batcher[FloatArray, _Decoded] = Batcher(self._decode, self._row_cap, np.shape)
        # One after another: the first one is done sooner, and there is one canvas in memory.
        self._large: Batcher[FloatArray, _Decoded] = Batcher(self._decode_in_tiles, lambda _: 1)
        self._ongoing = 0
        """Images that it was asked for and has not answered."""
        self.calls = 0
        """Images that it was asked to decode."""
        self.tile_runs = 0
        """Runs of the VAE for parts of a large image."""

    async def ready(self) -> StageInfo:
        """Describe the replica."""
        return StageInfo(self._replica)

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode the image.

        Raises:
            OutOfMemoryError: not even the image alone has room.
            StageFailedError: the VAE or the encoding failed on the image alone.

        """
        self.calls += 1
        self._ongoing += 1
        try:
            return await self._made(request)
        finally:
            self._ongoing -= 1

    async def _made(self, request: DecodeRequest) -> DecodedImage:
        keep_private(*(text for text in request.parameters.values() if isinstance(text, str)))
        with telling_failures("VAE"):
            started_s = time.perf_counter()
            decoded = await self._decoded(request.latents, request.order.arrived())
            decoded_s = time.perf_counter()
            data, encode_run = await asyncio.get_running_loop().run_in_executor(
                self._encode_threads, _encode, decoded.pixels, request
            )
            height_px, width_px, _ = decoded.pixels.shape
            return DecodedImage(
                data=data,
                width_px=width_px,
                height_px=height_px,
                vae_decode_s=decoded_s - started_s,
                image_encode_s=time.perf_counter() - decoded_s,
                replica=self._replica,
                vae_run=decoded.run,
                encode_run=encode_run,
                memory=self._memory(),
            )

    async def state(self) -> ReplicaState:
        """Return what the replica does now; to encode the file is a part of it."""
        waiting = self._small.waiting + self._large.waiting
        return ReplicaState(
            self._replica, self._thread.busy.share(), self._ongoing - waiting, waiting
        )

    def check_health(self) -> None:
        """Raise RuntimeError where the VAE can no longer be relied on."""
        self._thread.check_health(self._config.stall_timeout_s)

    def stop(self) -> None:
        """End the threads once what they do is done."""
        self._thread.stop()
        self._encode_threads.shutdown()

    def _measure_rows(self, height: int, width: int) -> None:
        """Measure what rows pay at the native size; no run is larger than a large tile."""
        most_pixels = self._tile_share**2
        if height * width > most_pixels:
            grid = TileGrid.cut(height, width, self._tile_share)
            height, width = grid.rows.size, grid.columns.size
        max_rows = max(1, min(self._config.max_batch_images, most_pixels // (height * width)))
        time_rows = partial(self._decoder.time_rows, latent_height=height, latent_width=width)
        cap, _ = self._thread.run(measure_row_cap, time_rows, max_rows)
        self._row_caps.set(height * width, cap)
        self._cores.measure(partial(time_rows, 1))

    def _row_cap(self, latents: FloatArray) -> int:
        _, height, width = latents.shape
        return self._row_caps.get(height * width)

    async def _decoded(self, latents: FloatArray, order: ServiceOrder) -> _Decoded:
        _, height, width = latents.shape
        batcher = self._large if height * width > self._tile_share**2 else self._small
        return await batcher(latents, order)

    async def _decode(self, latents: list[FloatArray]) -> list[_Decoded]:
        started_s, begun_s = time.time(), time.perf_counter()
        try:
            images = await self._thread.arun(
                self._cores.run, (latents[0].shape, len(latents)), self._decoder.decode, latents
            )
        except MemoryError:
            if len(latents) > 1:
                _, height, width = latents[0].shape
                self._row_caps.set(height * width, len(latents) - 1)
            raise
        run = StageRun(started_s, time.perf_counter() - begun_s, len(latents))
        return [_Decoded(pixels, run) for pixels in images]

    async def _decode_in_tiles(self, large: list[FloatArray]) -> list[_Decoded]:
        """Decode a large image; smaller ones have their turns between two of its runs."""
        (latents,) = large
        started_s, begun_s = time.time(), time.perf_counter()
        _, height, width = latents.shape
        grid = TileGrid.cut(height, width, self._tile_share)
        decoding = TiledDecoding(
            self._decoder, latents, grid, self._row_caps.get(grid.latent_pixels)
        )
        # Between two runs a client that has left ends this with a CancelledError.
        while await self._thread.arun(decoding.run_next):
            self.tile_runs += 1
        run = StageRun(started_s, time.perf_counter() - begun_s, 1)
        return [_Decoded(decoding.pixels, run)]


def _encode(pixels: Pixels, request: DecodeRequest) -> tuple[bytes, StageRun]:
    """Encode an image, in a thread."""
    started_s, begun_s = time.time(), time.perf_counter()
    data = encode_image(pixels, request.format, request.quality, request.parameters)
    return data, StageRun(started_s, time.perf_counter() - begun_s, 1)
