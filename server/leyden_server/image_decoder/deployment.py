"""The ImageDecoder deployment: VAE in one thread, image encoding in others beside it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from ray import serve

from leyden_server.config import ImageDecoderConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.messages import DecodedImage, DecodeRequest, FloatArray, StageInfo
from leyden_server.stages.replica import replica_name
from leyden_server.stages.row_caps import RowCaps, measure_row_cap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ImageDecoder"]


@serve.deployment(name="ImageDecoder")
class ImageDecoder:
    """Decodes and encodes images for every model with one base."""

    def __init__(self, model: ResolvedModel, config: ImageDecoderConfig) -> None:
        from leyden_server.image_decoder.decoder import VaeDecoder
        from leyden_server.image_decoder.image_file import encode_image
        from leyden_server.stages.device import device_and_dtype, torch_threads
        from leyden_server.stages.torch_thread import TorchThread

        self._config = config
        device, dtype = device_and_dtype(config)
        self._vae_thread = TorchThread("vae", torch_threads(config))
        self._decoder = self._vae_thread.run(VaeDecoder, model, dtype=dtype, device=device)
        self._encode_image = encode_image
        self._calls = 0
        height, width = (
            side // model.vae_scale_factor for side in (model.height_px, model.width_px)
        )
        time_rows = partial(self._decoder.time_rows, latent_height=height, latent_width=width)
        cap, _ = self._vae_thread.run(measure_row_cap, time_rows, config.max_batch_images)
        self._row_caps = RowCaps()
        self._row_caps.set(height * width, cap)
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

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Decode one image's latents and encode it."""
        self._calls += 1
        start = time.perf_counter()
        pixels: NDArray[np.uint8] = await self._decode_batch(request.latents)
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
