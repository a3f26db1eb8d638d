"""One Gateway's handler on a gRPC server of its own, without the stages behind it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_server.config import GatewayConfig
from leyden_server.gateway.catalog import CatalogEntry, ModelCatalog, StageApplications
from leyden_server.gateway.image_generation import ImageGeneration
from leyden_server.gateway.request_log import RequestLog
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.messages import DenoiserInfo


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
