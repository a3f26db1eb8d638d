"""The ModelService: what it cannot answer is told as by the other service."""

from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from support.house import House, house
from support.patience import PATIENCE_S
from support.running_server import details_of

from leyden.v1 import model_service_pb2 as pb
from leyden_server.gateway.leyden_v1.model_service import SERVICE_NAME
from leyden_server.generations.catalog import CatalogEntry

METHODS = ["ListModels", "GetModel", "LoadModel", "UnloadModel", "GetServerState"]


async def refusal(home: House, method: str, data: bytes) -> Any:
    channel: Any = home.channel
    call = channel.unary_unary(f"/{SERVICE_NAME}/{method}")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(data, timeout=PATIENCE_S)
    return raised.value


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_request_are_an_invalid_argument(method: str) -> None:
    async with house() as home:
        error = await refusal(home, method, b"\xff\xff\xff")
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"are not a leyden.v1.{method}Request" in error.details()
        assert not home.records.defects


@pytest.mark.parametrize("method", ["ListModels", "GetModel"])
async def test_a_defect_is_told_under_the_id_that_the_client_was_given(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def broken(entry: CatalogEntry) -> None:
        raise RuntimeError(f"no words for {entry.name}")

    async with house() as home:
        monkeypatch.setattr(home.catalog, "_view", broken)
        error = await refusal(home, method, b"")
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "no words" not in error.details()
        ((error_id, defect),) = home.records.defects.items()
        assert error_id == details_of(error)[ErrorInfo].metadata["error_id"]
        assert "no words for leyden-tiny-lightning-4step" in str(defect)


@pytest.mark.parametrize("method", ["LoadModel", "UnloadModel"])
async def test_models_that_a_serve_config_names_stay_as_they_are(method: str) -> None:
    async with house() as home:
        error = await refusal(home, method, pb.LoadModelRequest(model="x").SerializeToString())
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert details_of(error)[ErrorInfo].reason == "MANAGED_BY_SERVE_CONFIG"
        assert "serveConfigV2" in error.details()
