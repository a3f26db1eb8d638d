"""A Gateway in this process before stages that stand for real ones: nothing is computed."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_server.config import GatewayConfig
from leyden_server.gateway.peer_identity import PeerIdentity
from leyden_server.gateway.server import GatewayServer, Join
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.generations.records import Observer, RequestLog, RequestRecord
from leyden_server.generations.registry import Generations
from leyden_server.model_repository import ModelRepository, ResolvedModel
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
    PreviewImage,
    ReplicaState,
    StageInfo,
    StageReport,
    StageRun,
    StepDone,
)
from leyden_server.stages.tally import EngineTally

__all__ = ["House", "Records", "StubDenoiser", "StubTextEncoder", "StubVae", "catalog_of", "house"]

PEERS = PeerIdentity.new()
"""What the Gateways of this process know each other by."""

NOTHING_TO_DO = EngineLoad((0,) * 9, (0,) * 9, (0,) * 9, step_s=0.0, row_cap=8)


@dataclass
class _Life:
    """A stage that is there, unless a test says otherwise."""

    name: str = "stage"
    replicas: int = 1
    wanted: int = 1
    problem: str = ""
    starts: bool = False
    start_s: float | None = 0.0
    """What it expects of a start; None: it has seen none."""
    states: tuple[ReplicaState, ...] = ()
    """What its replicas say of themselves."""
    waking: asyncio.Event | None = None
    """Set once it is woken; it then never answers. None: it need not be woken."""

    def expected_start_s(self) -> float | None:
        return self.start_s

    async def report(self) -> StageReport:
        return StageReport(self.replicas, self.replicas, self.states)

    async def wake(self) -> None:
        if self.waking is not None:
            self.waking.set()
            await asyncio.Event().wait()


@dataclass
class StubTextEncoder(_Life):
    """Encodes any prompt to zeros."""

    errors: dict[str, Exception] = field(default_factory=dict)
    """By the prompt: what is raised for it."""
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    """By the prompt: what is waited for before it is answered."""
    left: list[str] = field(default_factory=list)
    """Prompts whose call has ended."""

    async def ready(self) -> StageInfo:
        return StageInfo("text#1")

    async def encode(self, prompt: str) -> EncodedPrompt:
        try:
            if prompt in self.held:
                await self.held[prompt].wait()
            if prompt in self.errors:
                raise self.errors[prompt]
        finally:
            self.left.append(prompt)
        nothing = np.zeros((77, 1), np.float32)
        return EncodedPrompt(nothing, nothing[0], 3, truncated=False, replica="text#1")


@dataclass
class StubDenoiser(_Life):
    """Steps as fast as it is let."""

    may_step: asyncio.Semaphore | None = None
    """Each step takes one of these; None: steps are free."""
    previews: bool = False
    running: list[DenoiseRequest] = field(default_factory=list)
    """What it is denoising now."""
    fails_once: list[Exception] = field(default_factory=list)
    """Raised before the next steps, one each."""

    async def ready(self) -> DenoiserInfo:
        return DenoiserInfo("denoise#1", "sha256:0", {1024: 8})

    async def denoise(self, request: DenoiseRequest) -> AsyncGenerator[DenoiseEvent]:
        self.running.append(request)
        try:
            yield DenoiseStarted("denoise#1", NOTHING_TO_DO)
            for step in range(1, request.sampling.num_inference_steps + 1):
                if self.may_step is not None:
                    await self.may_step.acquire()
                if self.fails_once:
                    raise self.fails_once.pop()
                preview = PreviewImage(bytes([step]), "JPEG", 8, 8) if self.previews else None
                yield StepDone(step, 999.0, 14.6, time.time(), 0.001, 1, preview, NOTHING_TO_DO)
            yield Denoised(np.zeros((4, 32, 32), np.float32))
        finally:
            self.running.remove(request)

    async def stats(self) -> EngineStats:
        return EngineStats(0, 0, 0, 0, len(self.running), 0)

    async def tally(self) -> EngineTally | None:
        return None


@dataclass
class StubVae(_Life):
    """Decodes anything to a file of so many bytes."""

    size_bytes: int = 100

    async def ready(self) -> StageInfo:
        return StageInfo("vae#1")

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        seed = request.parameters["seed"]
        assert isinstance(seed, int)
        data = bytes([seed % 256]) * self.size_bytes
        run = StageRun(time.time(), 0.0, 1)
        return DecodedImage(data, 256, 256, 0.0, 0.0, "vae#1", run, run)


@dataclass
class Records(Observer):
    """An observer that keeps what it is told of ends."""

    records: list[RequestRecord] = field(default_factory=list)
    defects: dict[str, BaseException] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    """By protocol."""

    def sent(self, protocol: str, size_bytes: int) -> None:
        self.sent_bytes[protocol] += size_bytes

    def noted(self, text: str) -> None:
        self.notes.append(text)

    def refused(self, record: RequestRecord) -> None:
        self.records.append(record)

    def ended(self, record: RequestRecord) -> None:
        self.records.append(record)

    def defect(self, error_id: str, error: BaseException) -> None:
        self.defects[error_id] = error


@dataclass
class House:
    """A Gateway, its stages, and a client of it."""

    server: GatewayServer
    text_encoder: StubTextEncoder
    denoiser: StubDenoiser
    vae: StubVae
    records: Records
    catalog: ModelCatalog
    address: str
    channel: grpc.aio.Channel
    images: "pb_grpc.ImageGenerationServiceAsyncStub"

    @staticmethod
    def stub_of(channel: grpc.aio.Channel) -> "pb_grpc.ImageGenerationServiceAsyncStub":
        return pb_grpc.ImageGenerationServiceStub(channel)

    @property
    def generations(self) -> Generations:
        return self.server.generations


def catalog_of(
    models: Sequence[ResolvedModel], config: GatewayConfig, stages: ModelStages
) -> ModelCatalog:
    """Return a catalog of served models that all have these stages."""
    entries = [CatalogEntry(m.name, m.description, "MIT", m, True, "") for m in models]
    return ModelCatalog(entries, config, lambda _: stages, share=2**20)


@asynccontextmanager
async def house(
    *,
    denoiser: StubDenoiser | None = None,
    vae: StubVae | None = None,
    text_encoder: StubTextEncoder | None = None,
    join: Join | None = None,
    request_log: Path | None = None,
    metrics_folder: Path | None = None,
    web_folder: Path | None = None,
    replica: str = "gateway#1",
    load: bool = True,
    channel_options: Sequence[tuple[str, int]] = (),
    **settings: object,
) -> AsyncIterator[House]:
    """Run a Gateway on a free port; `settings` are of the GatewayConfig."""
    config = replace_config(settings)
    stages = ModelStages(
        text_encoder or StubTextEncoder(), denoiser or StubDenoiser(), vae or StubVae()
    )
    model = ModelRepository().resolve("leyden-tiny-lightning-4step")
    catalog = catalog_of([model], config, stages)
    records = Records()
    log = None if request_log is None else RequestLog(request_log)
    observers: list[Observer] = [records] if log is None else [records, log]
    server = GatewayServer(config, catalog, observers, replica=replica, peer_identity=PEERS)
    port = await server.start(
        f"{config.host}:0",
        peer_host="127.0.0.1",
        join=join,
        metrics_folder=metrics_folder,
        web_folder=web_folder,
    )
    if load:
        await server.load()
    address = f"{config.host}:{port}"
    try:
        async with grpc.aio.insecure_channel(address, channel_options) as channel:
            yield House(
                server,
                stages.text_encoder,  # type: ignore[arg-type]
                stages.denoiser,  # type: ignore[arg-type]
                stages.vae,  # type: ignore[arg-type]
                records,
                catalog,
                address,
                channel,
                pb_grpc.ImageGenerationServiceStub(channel),
            )
    finally:
        await server.stop()
        if log is not None:
            log.close()


def replace_config(settings: dict[str, object]) -> GatewayConfig:
    """Return a config of one Gateway whose drain is short."""
    return GatewayConfig.model_validate({"drain_timeout_s": 0.2, **settings})
