# mypy: ignore-errors
"""`stub_gateway` for a checkout from before the house: run with its folders in PYTHONPATH.

It imports what that checkout has (`gateway/image_generation.py`, `stages/messages.py`), so it is
a script that only `benchmarks.figures.house --before` runs; it is the same work in the same words.
"""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import uvloop
from leyden_server.gateway.catalog import CatalogEntry, ModelCatalog, StageApplications
from leyden_server.gateway.image_generation import ImageGeneration
from leyden_server.gateway.request_log import RequestLog
from leyden_server.stages.messages import (
    DecodedImage,
    Denoised,
    DenoiseRequest,
    DenoiserInfo,
    DenoiseStarted,
    EncodedPrompt,
    StepDone,
)

from leyden_server.config import GatewayConfig
from leyden_server.gateway.deployment import SERVER_OPTIONS
from leyden_server.model_repository import ModelRepository

MODEL = "leyden-tiny-base"
STREAMS = 1024
IMAGE = bytes(1000)


class Awake:
    """A stage that is always there."""

    async def wake(self) -> None:
        """Do nothing: it never rests."""

    def expected_start_s(self) -> float:
        """Return 0: it runs."""
        return 0.0


class TextEncoder(Awake):
    """Encodes any prompt to zeros."""

    async def call(self, method: str, text: str) -> EncodedPrompt:
        """Return zeros."""
        del method, text
        nothing = np.zeros((77, 1), np.float32)
        return EncodedPrompt(nothing, nothing[0], 3, truncated=False, replica="text")


class Denoiser(Awake):
    """Steps once in each turn of the event loop."""

    async def stream(self, method: str, request: DenoiseRequest) -> AsyncIterator[object]:
        """Yield the steps."""
        del method
        yield DenoiseStarted("denoiser")
        for step in range(1, request.num_inference_steps + 1):
            await asyncio.sleep(0)
            yield StepDone(step, 999.0, 14.6, 0.001, 1, None)
        yield Denoised(np.zeros((4, 32, 32), np.float32))


class ImageDecoder(Awake):
    """Decodes anything to a file that is no image."""

    async def call(self, method: str, request: object, *, result_bytes: int) -> DecodedImage:
        """Return it."""
        del method, request, result_bytes
        return DecodedImage(IMAGE, 256, 256, 0.0, 0.0, "vae")


async def serve(folder: Path) -> None:
    """Serve on a free port until SIGINT."""
    config = GatewayConfig(max_waiting_images=STREAMS, max_open_images=STREAMS)
    model = ModelRepository().resolve(MODEL)
    applications = StageApplications("text", "denoise", "decode")
    catalog = ModelCatalog((CatalogEntry(model.name, "", "", model, applications, ""),), config)
    served = catalog._served[model.name]  # loaded it cannot be: there are no stages to ask
    served.info = DenoiserInfo("denoiser", "sha256:0", {1024: 8})
    served.admission.row_cap = 8
    served.text_encoder, served.denoiser, served.image_decoder = (
        TextEncoder(),
        Denoiser(),
        ImageDecoder(),
    )
    images = ImageGeneration(catalog, config, RequestLog(folder / "requests.jsonl"), "gateway")
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((images.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready: grpc 127.0.0.1:{port}", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as temporary:
        uvloop.run(serve(Path(temporary)))
