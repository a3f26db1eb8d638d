"""The Vae deployment: VAE in one thread, image encoding in others beside it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from ray import serve

from leyden_server.accelerator.row_caps import RowCaps, measure_row_cap
from leyden_server.config import VaeConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DecodedImage, DecodeRequest, FloatArray, StageInfo
from leyden_server.stages.replica import replica_name
from leyden_server.vae.tile_grid import TileGrid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Vae"]


@serve.deployment(name="Vae")
class Vae:
    """Decodes and encodes images for every model with one base."""

    def __init__(self, model: ResolvedModel, config: VaeConfig) -> None:
        from leyden_server.accelerator.device import device_and_dtype, torch_threads
        from leyden_server.accelerator.torch_thread import TorchThread
        from leyden_server.vae.decoder import VaeDecoder
        from leyden_server.vae.image_file import encode_image

        self._config = config
        device, dtype = device_and_dtype(config)
        self._vae_thread = TorchThread("vae", torch_threads(config))
        self._decoder = self._vae_thread.run(
            VaeDecoder, model, dtype=dtype, device=device, execution=config.vae_execution
        )
        self._encode_image = encode_image
        self._calls = 0
        self._tile_share = config.tile_px // model.vae_scale_factor
        self._one_large_image = asyncio.Lock()
        self._tile_runs = 0
        self._row_caps = RowCaps()
        cap = self._measure_rows(
            model.height_px // model.vae_scale_factor, model.width_px // model.vae_scale_factor
        )
        self._encode_threads = ThreadPoolExecutor(config.encode_threads, "image-encode")
        self._decode_batch.set_max_batch_size(cap)

    async def check_health(self) -> None:
        """Tell Serve whether the model still answers."""
        self._vae_thread.check_health(self._config.stall_timeout_s)

    async def ready(self) -> StageInfo:
        """Answer once the VAE is loaded and warmed up."""
        return StageInfo(replica_name())

    async def calls(self) -> int:
        """Return how many images this replica was asked to decode."""
        return self._calls

    async def tile_runs(self) -> int:
        """Return how often this replica ran the VAE for parts of a large image."""
        return self._tile_runs

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode it."""
        self._calls += 1
        start = time.perf_counter()
        pixels = await self._pixels(request.latents)
        decoded = time.perf_counter()
        data = await asyncio.get_running_loop().run_in_executor(
            self._encode_threads,
            self._encode_image,
            pixels,
            request.format,
            request.quality,
            request.parameters,
        )
        return DecodedImage(
            data=data,
            width_px=pixels.shape[1],
            height_px=pixels.shape[0],
            vae_decode_s=decoded - start,
            image_encode_s=time.perf_counter() - decoded,
            replica=replica_name(),
        )

    def _measure_rows(self, height: int, width: int) -> int:
        """Measure what rows pay at the native size; no run is larger than a large tile."""
        most_pixels = self._tile_share**2
        if height * width > most_pixels:
            grid = TileGrid.cut(height, width, self._tile_share)
            height, width = grid.rows.size, grid.columns.size
        max_rows = max(1, min(self._config.max_batch_images, most_pixels // (height * width)))
        time_rows = partial(self._decoder.time_rows, latent_height=height, latent_width=width)
        cap, _ = self._vae_thread.run(measure_row_cap, time_rows, max_rows)
        self._row_caps.set(height * width, cap)
        return cap

    async def _pixels(self, latents: FloatArray) -> "NDArray[np.uint8]":
        _, height, width = latents.shape
        if height * width > self._tile_share**2:
            return await self._decode_in_tiles(latents)
        pixels: NDArray[np.uint8] = await self._decode_batch(latents)
        return pixels

    async def _decode_in_tiles(self, latents: FloatArray) -> "NDArray[np.uint8]":
        """Decode a large image; smaller ones have their turns between two of its runs."""
        from leyden_server.vae.tiled_decoding import TiledDecoding

        _, height, width = latents.shape
        grid = TileGrid.cut(height, width, self._tile_share)
        batch_rows = self._row_caps.get(grid.latent_pixels)
        # One after another: the first one is done sooner, and there is one canvas in memory.
        async with self._one_large_image:
            decoding = TiledDecoding(self._decoder, latents, grid, batch_rows)
            # Between two runs a client that has left ends this with a CancelledError.
            while await self._vae_thread.arun(decoding.run_next):
                self._tile_runs += 1
        return decoding.pixels

    # A wait of 0: whatever came while the last batch ran makes the next one.
    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)
    async def _decode_batch(self, latents: list[FloatArray]) -> list["NDArray[np.uint8]"]:
        pixels: dict[int, NDArray[np.uint8]] = {}
        for indices in _runs_of_one_shape(latents, self._row_caps):
            decoded = await self._vae_thread.arun(
                self._decoder.decode, [latents[i] for i in indices]
            )
            pixels.update(zip(indices, decoded, strict=True))
        return [pixels[i] for i in range(len(latents))]


def _runs_of_one_shape(latents: list[FloatArray], caps: RowCaps) -> list[list[int]]:
    """Group indices by shape, each group no longer than the shape's cap."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, one in enumerate(latents):
        by_shape.setdefault(one.shape, []).append(index)
    runs = []
    for (_, height, width), indices in by_shape.items():
        cap = caps.get(height * width)
        runs += [indices[start : start + cap] for start in range(0, len(indices), cap)]
    return runs
