"""Image files are made beside the VAE: neither it nor the event loop waits for one."""

import asyncio
import threading

import numpy as np
import pytest
from numpy.typing import NDArray
from support.patience import PATIENCE_S
from support.stages import load_vae

from leyden_server.model_repository import ResolvedModel
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import DecodeRequest, ImageFormat
from leyden_server.vae import service as vae_service
from leyden_server.vae.image_file import encode_image


def decode_request(seed: int) -> DecodeRequest:
    latents = np.random.default_rng(seed).standard_normal((4, 8, 8), dtype=np.float32)
    return DecodeRequest(latents, "PNG", 90, {"seed": seed}, TravellingOrder())


async def test_the_next_image_is_decoded_while_one_is_encoded(
    random_model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()

    def held(
        pixels: NDArray[np.uint8],
        image_format: ImageFormat,
        quality: int,
        parameters: dict[str, object],
    ) -> bytes:
        begun.release()
        assert may_end.wait(PATIENCE_S)
        return encode_image(pixels, image_format, quality, parameters)

    monkeypatch.setattr(vae_service, "encode_image", held)
    service = load_vae(random_model)
    try:
        first = asyncio.create_task(service.decode(decode_request(0)))
        assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE_S)
        # The second image has been decoded when its own encoding begins, in another thread.
        second = asyncio.create_task(service.decode(decode_request(1)))
        assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE_S)
        assert not first.done()
        may_end.set()
        assert (await first).data != (await second).data
    finally:
        may_end.set()
        service.stop()
