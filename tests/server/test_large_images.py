"""Images over the decoder's tile_px: in tiles, over 4 MiB of file, and dropped between tiles."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from ray import serve
from server.conftest import KINDS, RANDOM, TILE_PX
from support.patience import PATIENCE_S
from support.reference import reference_images
from support.running_server import Reply, RunningServer, eventually, request

LARGE: dict[str, Any] = {
    "model": RANDOM,
    "num_inference_steps": 1,
    "guidance_scale": 0.0,
    "seed": 5,
}
"""Noise, which PNG cannot compress."""


on_both = pytest.mark.parametrize("server", KINDS, indirect=True)


def decoder_application(reply: Reply) -> str:
    replica: str = reply.summary.bill.images[0].image_decoder_replica
    return replica.partition("#")[0]


def runs_of(width_px: int, height_px: int) -> int:
    """Return in how many runs an image is decoded: as many samples as tiles, each alone."""
    return 2 * math.ceil(width_px / TILE_PX) * math.ceil(height_px / TILE_PX)


@on_both
def test_a_large_image_is_close_to_the_reference(server: RunningServer, random_model: Path) -> None:
    fields = {**LARGE, "num_inference_steps": 4}
    small = server.generate(width_px=TILE_PX, height_px=TILE_PX, **fields)
    decoder = decoder_application(small)
    before = server.tile_runs(decoder)
    server.generate(width_px=2 * TILE_PX, height_px=TILE_PX // 2, **fields)
    assert server.tile_runs(decoder) == before, "no more pixels than tile_px * tile_px: whole"
    reply = server.generate(width_px=512, height_px=640, **fields)
    assert server.tile_runs(decoder) == before + runs_of(512, 640)
    expected = reference_images(
        random_model,
        prompt="a lake at dawn",
        seed=5,
        width=512,
        height=640,
        num_inference_steps=4,
        guidance_scale=0.0,
    )[0].astype(np.int16)
    difference = np.abs(reply.pixels().astype(np.int16) - expected)
    assert difference.max() <= 8
    assert difference.mean() <= 0.8


@on_both
def test_a_file_over_4_mib_comes_from_the_decoder_whole(server: RunningServer) -> None:
    """By value Ray Serve would not carry it."""
    reply = server.generate(width_px=1536, height_px=1536, **LARGE)
    assert reply.of("image")[0].size_bytes > 4 * 2**20
    assert reply.pixels().shape == (1536, 1536, 3)
    assert reply.summary.retries == 0


@on_both
def test_a_client_that_leaves_while_tiles_are_decoded_costs_no_more(
    server: RunningServer,
) -> None:
    decoder = decoder_application(server.generate(width_px=64, height_px=64, **LARGE))
    all_runs, before = runs_of(1280, 1280), server.tile_runs(decoder)
    call = server.images.GenerateImage(request(width_px=1280, height_px=1280, **LARGE))
    eventually(lambda: server.tile_runs(decoder) > before)
    call.cancel()
    with pytest.raises(grpc.RpcError) as raised:
        list(call)
    assert raised.value.code() is grpc.StatusCode.CANCELLED
    # The next large image starts when the one before is done with, and runs to its end.
    server.generate(width_px=1280, height_px=1280, **LARGE)
    assert before + all_runs < server.tile_runs(decoder) < before + 2 * all_runs


@pytest.fixture
def courier(ray_server: RunningServer) -> Iterator[Any]:
    """A deployment that takes bytes from another one, as the Gateway does from the stages."""
    del ray_server  # for its Ray

    # Defined here, so that their code travels to the replicas, which cannot import tests.
    class Sender:
        async def whole(self, size: int) -> bytes:
            return bytes(size)

        async def stream(self, latents: bytes) -> Any:
            yield latents

    class Courier:
        def __init__(self, sender: object) -> None:
            from leyden_server.stages.ray_handle import Patience, StageHandle
            from leyden_server.stages.replica_counts import ReplicaCounts

            del sender  # bound, so that it is deployed with this
            self.handle = StageHandle("courier", "Sender", Patience(60, 60), ReplicaCounts())

        async def whole(self, size: int) -> int:
            return len(await self.handle.call("whole", size, result_bytes=size))

        async def stream(self, size: int) -> list[int]:
            return [len(item) async for item in self.handle.stream("stream", bytes(size))]

    deployed: Any = serve.deployment(ray_actor_options={"num_cpus": 0})
    handle = serve.run(
        deployed(Courier).bind(deployed(Sender).bind()), name="courier", route_prefix=None
    )
    yield handle
    serve.delete("courier")


def test_what_4096_pixels_take_goes_between_stages(courier: Any) -> None:
    """Latents of 512 x 512 in a stream, to and fro, and the image's file."""
    latents = 4 * 4 * 512 * 512 + 1024
    assert courier.stream.remote(latents).result(timeout_s=PATIENCE_S) == [latents]
    file = 3 * 4096 * 4096
    assert courier.whole.remote(file).result(timeout_s=PATIENCE_S) == file
