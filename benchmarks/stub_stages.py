"""A Gateway before stages over Ray that compute nothing: `python -m benchmarks.stub_stages`.

What crosses to the stages and back is as large as with SDXL at 1024 px: embeddings, latents, and
a file of `IMAGE_BYTES`. So what the Gateway's process takes is what it takes before a GPU.
"""

import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import numpy as np
import ray
from ray import serve

from benchmarks.stub_gateway import MODEL, NOTHING_TO_DO, RUN, STREAMS, TALLY
from leyden_server.config import GatewayConfig, RayConfig
from leyden_server.controller.ray_start import start_ray
from leyden_server.gateway.server import GatewayServer
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.records import RequestLog
from leyden_server.model_repository import ModelRepository
from leyden_server.stages.contract import (
    DecodedImage,
    DecodeRequest,
    Denoised,
    DenoiseEvent,
    DenoiseRequest,
    DenoiserInfo,
    DenoiseStarted,
    EncodedPrompt,
    EngineStats,
    ReplicaState,
    StageInfo,
    StepDone,
)
from leyden_server.stages.over_ray import StageApplications, StagesOverRay
from leyden_server.stages.tally import EngineTally

IMAGE_BYTES = 1_500_000
"""Of a PNG of 1024 x 1024 px, about: photographs take so many."""

TOKENS, WIDTH, POOLED = 77, 2048, 1280
LATENTS = (4, 128, 128)
NOTHING = ReplicaState("stub", 0.0, 0, 0)
OPTIONS = {"max_ongoing_requests": 2 * STREAMS, "ray_actor_options": {"num_cpus": 0}}


@serve.deployment(name="TextEncoder", **OPTIONS)
class TextEncoder:
    """Answers with embeddings."""

    async def ready(self) -> StageInfo:
        """Describe the stage."""
        return StageInfo("text")

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Return zeros."""
        del prompt
        embeds = np.zeros((TOKENS, WIDTH), np.float32)
        return EncodedPrompt(embeds, np.zeros(POOLED, np.float32), 3, False, "text")

    async def state(self) -> ReplicaState:
        """Say that it does nothing."""
        return NOTHING


@serve.deployment(name="Denoiser", **OPTIONS)
class Denoiser:
    """Answers with steps and latents."""

    async def ready(self) -> DenoiserInfo:
        """Describe the stage."""
        return DenoiserInfo("denoiser", "sha256:0", {1024: 8})

    async def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        """Yield a step after another."""
        yield DenoiseStarted("denoiser", NOTHING_TO_DO)
        for step in range(1, request.sampling.num_inference_steps + 1):
            yield StepDone(step, 999.0, 14.6, 0.0, 0.001, 1, None, NOTHING_TO_DO, TALLY)
        yield Denoised(np.zeros(LATENTS, np.float32))

    async def stats(self) -> EngineStats:
        """Return nothing but zeros."""
        return EngineStats(0, 0, 0, 0, 0, 0)

    async def tally(self) -> EngineTally | None:
        """Return nothing: nobody leaves."""
        return None

    async def state(self) -> ReplicaState:
        """Say that it does nothing."""
        return NOTHING


@serve.deployment(name="Vae", **OPTIONS)
class Vae:
    """Answers with a file that is no image."""

    async def ready(self) -> StageInfo:
        """Describe the stage."""
        return StageInfo("vae")

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Return as many bytes as an image has."""
        del request
        return DecodedImage(bytes(IMAGE_BYTES), 1024, 1024, 0.0, 0.0, "vae", RUN, RUN)

    async def state(self) -> ReplicaState:
        """Say that it does nothing."""
        return NOTHING


STAGES = {"text-encoder": TextEncoder, "denoiser": Denoiser, "vae": Vae}


class StagesGateway:
    """A Gateway as an actor of Ray."""

    async def start(self, folder: Path) -> str:
        """Return where it listens, once it is ready."""
        config = GatewayConfig(max_waiting_images=STREAMS, max_open_images=STREAMS)
        model = ModelRepository().resolve(MODEL)
        entry = CatalogEntry(model.name, model.description, "", model, True, "")
        stages = StagesOverRay(config)
        applications = StageApplications(*STAGES)
        catalog = ModelCatalog([entry], config, lambda _: stages.of(applications), share=STREAMS)
        log = RequestLog(folder / "requests.jsonl")
        self._server = GatewayServer(config, catalog, [log], replica="gateway")
        port = await self._server.start("127.0.0.1:0")
        await self._server.load()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Finish what runs."""
        await self._server.stop()


def main() -> None:
    """Serve until Ctrl-C."""
    # Not when it is asked for it, but when it waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    start_ray(RayConfig(num_cpus=1), partial(print, file=sys.stderr, flush=True))
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as folder:
        try:
            for name, deployment in STAGES.items():
                serve.run(deployment.bind(), name=name, route_prefix=None)
            gateway = ray.remote(StagesGateway).options(num_cpus=0).remote()
            print(f"ready: grpc {ray.get(gateway.start.remote(Path(folder)))}", flush=True)
            signal.sigwait({signal.SIGINT})
            ray.get(gateway.stop.remote())
        finally:
            serve.shutdown()
            ray.shutdown()


if __name__ == "__main__":
    main()
