"""What probes are told: alive, serving, and which stage is gone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.gateways import generate, kinds, read, reason, refusal, until
from support.house import House, StubDenoiser, StubTextEncoder, StubVae, house
from support.patience import PATIENCE_S

from leyden.v1 import model_service_pb2, model_service_pb2_grpc

SERVICES = ["leyden.v1.ImageGenerationService", "leyden.v1.ModelService"]
STATUS = health_pb2.HealthCheckResponse
SERVING, NOT_SERVING, UNKNOWN = STATUS.SERVING, STATUS.NOT_SERVING, STATUS.SERVICE_UNKNOWN


async def check(home: House, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(home.channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
    status: int = reply.status
    return status


async def statuses(home: House) -> dict[str, int]:
    return {name: await check(home, name) for name in ("", *SERVICES)}


async def watched(home: House, service: str) -> AsyncIterator[int]:
    stub: Any = health_pb2_grpc.HealthStub(home.channel)
    async for reply in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
        yield reply.status


async def test_it_serves_from_loaded_to_draining() -> None:
    async with house(load=False) as home:
        assert set((await statuses(home)).values()) == {NOT_SERVING}
        assert await check(home, "leyden.live") == SERVING
        assert reason(await refusal(generate(home))) == "MODEL_LOADING"
        seen = watched(home, "")
        assert await anext(seen) == NOT_SERVING
        await home.server.load()
        assert await asyncio.wait_for(anext(seen), PATIENCE_S) == SERVING
        assert set((await statuses(home)).values()) == {SERVING}
        stopping = asyncio.create_task(home.server.stop())
        assert await asyncio.wait_for(anext(seen), PATIENCE_S) == NOT_SERVING
        await stopping


async def test_it_takes_requests_while_it_gives_notice() -> None:
    async with house(drain_notice_s=60.0) as home:
        stopping = asyncio.create_task(home.server.stop())
        await until(lambda: home.generations.is_leaving)
        assert set((await statuses(home)).values()) == {NOT_SERVING}
        assert await check(home, "leyden.live") == SERVING
        assert kinds(await read(generate(home)))[-1] == "summary"
        assert not home.generations.is_draining
        stopping.cancel()


async def test_it_drains_after_its_notice() -> None:
    async with house(drain_notice_s=0.05) as home:
        await home.server.stop()
        assert home.generations.is_draining


async def test_an_unknown_name_is_not_found() -> None:
    async with house() as home:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await check(home, "leyden.v2.ImageGenerationService")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert await anext(watched(home, "nobody")) == UNKNOWN


@pytest.mark.parametrize("gone", ["text_encoder", "denoiser", "vae"])
async def test_a_stage_that_is_gone_is_said_and_told(gone: str) -> None:
    """Health said SERVING and GetModel READY while requests stayed silent."""
    async with house() as home:
        stage: StubTextEncoder | StubDenoiser | StubVae = getattr(home, gone)
        seen = watched(home, SERVICES[0])
        assert await anext(seen) == SERVING
        stage.problem = f"{gone} has had no running replica for 60 s"
        assert await asyncio.wait_for(anext(seen), PATIENCE_S) == NOT_SERVING
        assert await check(home, "leyden.live") == SERVING
        error = await refusal(generate(home))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == "STAGE_GONE"
        assert "no running replica" in error.details()
        models: Any = model_service_pb2_grpc.ModelServiceStub(home.channel)
        model = (await models.GetModel(model_service_pb2.GetModelRequest())).model
        assert model.state == model_service_pb2.MODEL_STATE_LOADING
        assert model.unavailable_reason == stage.problem
        stage.problem = ""
        assert await asyncio.wait_for(anext(seen), PATIENCE_S) == SERVING
        assert kinds(await read(generate(home)))[-1] == "summary"


async def test_those_who_wait_for_a_stage_that_is_gone_go_on() -> None:
    async with house(denoiser=StubDenoiser(may_step=asyncio.Semaphore(0))) as home:
        call = generate(home)
        await until(lambda: home.denoiser.running)
        home.denoiser.problem = "denoiser has had no running replica for 60 s"
        assert home.denoiser.may_step is not None
        for _ in range(4):
            home.denoiser.may_step.release()
        assert kinds(await read(call))[-1] == "summary"
