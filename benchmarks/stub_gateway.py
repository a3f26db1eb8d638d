"""Gateways before stages that compute nothing: `python -m benchmarks.stub_gateway`.

What is left of a request is the Gateway's own work: decoding, the line, the events, gRPC. Steps
come one in a turn of the event loop, as fast as it turns. The event loop is uvloop's, as in Ray's
workers, where the Gateway mostly runs.

With `--gateways N` each is an actor of a Ray of their own; two and more share a directory.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import uvloop

from leyden_server.config import GatewayConfig, RayConfig
from leyden_server.controller.directory import RayDirectory
from leyden_server.controller.ray_start import start_ray
from leyden_server.gateway.peer_identity import PeerIdentity
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
    EngineLoad,
    EngineStats,
    ModelStages,
    StageInfo,
    StageRun,
    StepDone,
)
from leyden_server.stages.tally import EngineTally, UNetRun

__all__ = ["MODEL", "STREAMS", "StubGateway", "stub_command"]

MODEL = "leyden-tiny-base"
"""Its generations may have up to 100 steps."""

STREAMS = 1024
"""Images that may be in the denoiser's hands, and wait, at once."""

IMAGE = bytes(1000)
RUN = StageRun(0.0, 0.0, 1)
TALLY = EngineTally((UNetRun(1, 0, 0.001),))
"""What every step tells where each runs alone: the most that there is to count."""
NOTHING_TO_DO = EngineLoad((0,) * 9, (0,) * 9, (0,) * 9, step_s=0.0, row_cap=8)
WIDTH = 1
"""Of the embeddings: nobody looks at them."""


def stub_command(**settings: object) -> list[str]:
    """Return what Python runs for one such Gateway, with these settings of its GatewayConfig."""
    return ["-m", "benchmarks.stub_gateway", "--settings", json.dumps(settings)]


@dataclass
class _Awake:
    """A stage that is always there."""

    name: str = "stage"
    replicas: int = 1
    wanted: int = 1
    problem: str = ""
    starts: bool = False

    async def wake(self) -> None:
        """Do nothing: it never rests."""

    def expected_start_s(self) -> float | None:
        """Return 0: it runs."""
        return 0.0


class _TextEncoder(_Awake):
    async def ready(self) -> StageInfo:
        """Describe the stage."""
        return StageInfo("text")

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Return zeros."""
        del prompt
        nothing = np.zeros((77, WIDTH), np.float32)
        return EncodedPrompt(nothing, nothing[0], 3, truncated=False, replica="text")


class _Denoiser(_Awake):
    async def ready(self) -> DenoiserInfo:
        """Describe the stage."""
        return DenoiserInfo("denoiser", "sha256:0", {1024: 8})

    async def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        """Yield a step in each turn of the event loop."""
        yield DenoiseStarted("denoiser", NOTHING_TO_DO)
        for step in range(1, request.sampling.num_inference_steps + 1):
            await asyncio.sleep(0)
            yield StepDone(step, 999.0, 14.6, 0.0, 0.001, 1, None, NOTHING_TO_DO, TALLY)
        yield Denoised(np.zeros((4, 32, 32), np.float32))

    async def stats(self) -> EngineStats:
        """Return nothing but zeros."""
        return EngineStats(0, 0, 0, 0, 0, 0)

    async def tally(self) -> EngineTally | None:
        """Return nothing: nobody leaves."""
        return None


class _Vae(_Awake):
    async def ready(self) -> StageInfo:
        """Describe the stage."""
        return StageInfo("vae")

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        """Return a file that is no image."""
        del request
        return DecodedImage(IMAGE, 256, 256, 0.0, 0.0, "vae", RUN, RUN)


class StubGateway:
    """A Gateway that serves from this process, with a request log as every one has."""

    def __init__(
        self,
        folder: Path,
        gateways: int = 1,
        settings: Mapping[str, Any] | None = None,
        peers: PeerIdentity | None = None,
    ) -> None:
        """`gateways`: how many the server has; more than one share a directory over Ray.

        `peers` is what they know each other by, where there are several, and `settings` are those
        of its GatewayConfig that are to be others.
        """
        ours = {
            "max_waiting_images": STREAMS,
            "max_open_images": STREAMS,
            "replicas": gateways,
        }
        config = GatewayConfig(**{**ours, **(settings or {})})
        model = ModelRepository().resolve(MODEL)
        entry = CatalogEntry(model.name, model.description, "", model, True, "")
        stages = ModelStages(_TextEncoder(), _Denoiser(), _Vae())
        catalog = ModelCatalog([entry], config, lambda _: stages, share=STREAMS)
        self._log = RequestLog(folder / "requests.jsonl")
        self._server = GatewayServer(
            config, catalog, [self._log], replica="gateway", peer_identity=peers
        )
        self._shares_directory = gateways > 1

    async def start(self) -> str:
        """Return where it listens, once it is ready."""
        join = partial(RayDirectory, "stub-directory") if self._shares_directory else None
        port = await self._server.start("127.0.0.1:0", peer_host="127.0.0.1", join=join)
        await self._server.load()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Finish what runs, and close."""
        await self._server.stop()
        self._log.close()


async def _serve(folder: Path, settings: Mapping[str, Any]) -> None:
    gateway = StubGateway(folder, settings=settings)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    print(f"ready: grpc {await gateway.start()}", flush=True)
    await ended.wait()
    await gateway.stop()


def _serve_over_ray(folder: Path, gateways: int) -> None:
    start_ray(RayConfig(num_cpus=gateways), partial(print, file=sys.stderr, flush=True))
    actor = ray.remote(StubGateway).options(num_cpus=0)
    peers = PeerIdentity.new() if gateways > 1 else None
    actors = [actor.remote(folder, gateways, None, peers) for _ in range(gateways)]
    try:
        addresses = ray.get([one.start.remote() for one in actors])
        print(f"ready: grpc {addresses[-1]}", flush=True)
        signal.sigwait({signal.SIGINT})
        ray.get([one.stop.remote() for one in actors])
    finally:
        ray.shutdown()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gateways", type=int, help="so many, over Ray (default: one, without)")
    parser.add_argument("--settings", type=json.loads, default={}, help="GatewayConfig as JSON")
    parser.add_argument("--uncounted", action="store_true", help="have no metrics")
    arguments = parser.parse_args()
    if arguments.uncounted:
        from benchmarks.uncounted import count_nothing  # noqa: PLC0415 - newer than some commits

        count_nothing()
    gateways = arguments.gateways
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as folder:
        if gateways is None:
            uvloop.run(_serve(Path(folder), arguments.settings))
        else:
            # Not when it is asked for it, but when it waits for it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            _serve_over_ray(Path(folder), gateways)


if __name__ == "__main__":
    main()
