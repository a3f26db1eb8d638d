"""One Gateway's handler on a gRPC server of its own; what stands behind it is the tests'."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.running_server import eventually

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_server.config import GatewayConfig
from leyden_server.errors import UnavailableError
from leyden_server.gateway.leyden_v1.image_generation import ImageGeneration, _note_departure
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog, StageApplications
from leyden_server.generations.records import RequestLog, RequestRecord
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import (
    DecodedImage,
    DecodeRequest,
    Denoised,
    DenoiseRequest,
    DenoiserInfo,
    DenoiseStarted,
    EncodedPrompt,
    EngineLoad,
)


@pytest.fixture
def catalog(lightning: ResolvedModel) -> ModelCatalog:
    applications = StageApplications("text", "denoise", "decode")
    entry = CatalogEntry(lightning.name, "", "MIT", lightning, applications, "")
    catalog = ModelCatalog((entry,), GatewayConfig())
    catalog._served[lightning.name].info = DenoiserInfo("denoise#1", "sha256:0", {1024: 8})
    return catalog


@pytest.fixture
async def gateway(catalog: ModelCatalog, tmp_path: Path) -> AsyncIterator[ImageGeneration]:
    log = RequestLog(tmp_path / "requests.jsonl")
    yield ImageGeneration(catalog, GatewayConfig(), log, "gateway#1")
    for handler in log._logger.handlers:
        handler.close()


@pytest.fixture
async def stub(
    gateway: ImageGeneration,
) -> "AsyncIterator[pb_grpc.ImageGenerationServiceAsyncStub]":
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((gateway.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.ImageGenerationServiceStub(channel)
    await server.stop(None)


async def test_a_drain_knows_a_request_whose_stages_are_still_woken(
    gateway: ImageGeneration,
    stub: "pb_grpc.ImageGenerationServiceAsyncStub",
    catalog: ModelCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waking = asyncio.Event()

    async def wake() -> None:
        waking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(catalog.get(""), "wake", wake)
    call = stub.GenerateImage(pb.GenerateImageRequest(prompt="a lake at dawn"), timeout=20)
    first = asyncio.ensure_future(call.read())
    await asyncio.wait_for(waking.wait(), 20)
    await gateway.drain(timeout_s=0.1)

    with pytest.raises(grpc.aio.AioRpcError, match="shutting down") as raised:
        await first
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


class Awake:
    """A stage that does not rest."""

    async def wake(self) -> None:
        """Nothing to do."""

    def expected_start_s(self) -> float:
        return 0.0


class OneSidedEncoder(Awake):
    """Stands for a TextEncoder that stalls on the negative prompt and is slow on the other."""

    def __init__(self) -> None:
        self.left = False
        """Whether the call for the prompt has ended."""
        self._under_way = asyncio.Event()

    async def call(self, method: str, text: str) -> None:
        assert method == "encode"
        if text == "blurry":
            await self._under_way.wait()
            raise UnavailableError("STAGE_STALLED", "text has answered nobody", 1.0)
        self._under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left = True


async def test_a_prompt_that_fails_takes_the_other_with_it(
    stub: "pb_grpc.ImageGenerationServiceAsyncStub",
    catalog: ModelCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = OneSidedEncoder()
    monkeypatch.setattr(catalog.get(""), "text_encoder", encoder)
    request = pb.GenerateImageRequest(prompt="x", negative_prompt="blurry", guidance_scale=2)
    with pytest.raises(grpc.aio.AioRpcError, match="has answered nobody"):
        async for _ in stub.GenerateImage(request, timeout=20):
            pass
    assert encoder.left


class FailingEncoder(Awake):
    """Stands for a TextEncoder that fails after so many turns of the event loop."""

    def __init__(self, turns: int) -> None:
        self._turns = turns

    async def call(self, method: str, text: str) -> None:
        assert (method, text) == ("encode", "x")
        for _ in range(self._turns):
            await asyncio.sleep(0)
        raise UnavailableError("STAGE_STALLED", "text has answered nobody", 1.0)


@pytest.mark.parametrize("turns", range(8))
async def test_an_error_is_told_though_the_first_event_is_on_its_way(
    stub: "pb_grpc.ImageGenerationServiceAsyncStub",
    catalog: ModelCatalog,
    monkeypatch: pytest.MonkeyPatch,
    turns: int,
) -> None:
    monkeypatch.setattr(catalog.get(""), "text_encoder", FailingEncoder(turns))
    with pytest.raises(grpc.aio.AioRpcError, match="has answered nobody"):
        async for _ in stub.GenerateImage(pb.GenerateImageRequest(prompt="x"), timeout=5):
            pass


class Encoder(Awake):
    """Stands for a TextEncoder."""

    async def call(self, method: str, text: str) -> EncodedPrompt:
        assert (method, text) == ("encode", "x")
        nothing = np.zeros((77, 1), np.float32)
        return EncodedPrompt(nothing, nothing[0], 3, truncated=False, replica="text#1")


class Denoiser(Awake):
    """Stands for a Denoiser without steps."""

    async def stream(
        self, method: str, request: DenoiseRequest
    ) -> AsyncIterator[DenoiseStarted | Denoised]:
        assert (method, request.image_index) == ("denoise", 0)
        yield DenoiseStarted("denoise#1", EngineLoad((0,) * 9, (0,) * 9, 0.0, 8))
        yield Denoised(np.zeros((4, 32, 32), np.float32))


class Decoder(Awake):
    """Stands for an Vae whose images go in chunks, and are more than gRPC buffers."""

    async def call(self, method: str, request: DecodeRequest, *, result_bytes: int) -> DecodedImage:
        assert (method, request.format) == ("decode", "PNG")
        return DecodedImage(bytes(64 * 2**20), 256, 256, 0.0, 0.0, "decode#1")


@pytest.mark.parametrize(("leaves_after", "sent"), [("image", 0), ("summary", 1)])
async def test_an_image_in_chunks_is_sent_with_its_last(
    stub: "pb_grpc.ImageGenerationServiceAsyncStub",
    catalog: ModelCatalog,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    leaves_after: str,
    sent: int,
) -> None:
    stages = {"text_encoder": Encoder(), "denoiser": Denoiser(), "vae": Decoder()}
    for name, stage in stages.items():
        monkeypatch.setattr(catalog.get(""), name, stage)
    call = stub.GenerateImage(pb.GenerateImageRequest(prompt="x"), timeout=20)
    async for event in call:
        if event.WhichOneof("event") == leaves_after:
            break
    call.cancel()
    (line,) = await asyncio.to_thread(logged, tmp_path / "requests.jsonl")
    assert line["images_sent"] == sent


def logged(path: Path) -> list[dict[str, object]]:
    eventually(path.read_text)
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("timeout_s", "left_s", "code"),
    [
        (0.39, 0.0, "DEADLINE_EXCEEDED"),
        (12.40, 0.061, "DEADLINE_EXCEEDED"),  # of 12.34 s, measured, as the next
        (25.10, 0.095, "DEADLINE_EXCEEDED"),  # of 25.01 s
        (25.10, 1.0, "CANCELLED"),
        (None, None, "CANCELLED"),
    ],
)
def test_who_leaves_at_the_deadline_is_not_logged_as_cancelled(
    timeout_s: float | None, left_s: float | None, code: str
) -> None:
    class Left:
        def time_remaining(self) -> float | None:
            return left_s

    record = RequestRecord(peer="", timeout_s=timeout_s)
    _note_departure(Left(), record)  # type: ignore[arg-type]
    assert record.code == code
