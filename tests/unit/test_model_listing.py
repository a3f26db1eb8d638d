"""The ModelService on a gRPC server of its own: what it cannot answer is told as by the other."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from support.running_server import details_of

from leyden_server.config import GatewayConfig
from leyden_server.gateway.leyden_v1.model_listing import SERVICE_NAME, ModelListing
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog, StageApplications
from leyden_server.generations.records import RequestLog
from leyden_server.model_repository import ResolvedModel

METHODS = ["ListModels", "GetModel"]


@pytest.fixture
def catalog(lightning: ResolvedModel) -> ModelCatalog:
    applications = StageApplications("text", "denoise", "decode")
    entry = CatalogEntry(lightning.name, "", "MIT", lightning, applications, "")
    return ModelCatalog((entry,), GatewayConfig())


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


@pytest.fixture
async def channel(catalog: ModelCatalog, log_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    log = RequestLog(log_path)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ModelListing(catalog, log).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)
    for handler in log._logger.handlers:
        handler.close()


def logged(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def refusal(channel: Any, method: str, data: bytes) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(f"/{SERVICE_NAME}/{method}")(data, timeout=20)
    return raised.value


@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_request_are_an_invalid_argument(
    channel: grpc.aio.Channel, log_path: Path, method: str
) -> None:
    error = await refusal(channel, method, b"\xff\xff\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"are not a leyden.v1.{method}Request" in error.details()
    assert logged(log_path) == []


@pytest.mark.parametrize("method", METHODS)
async def test_a_defect_is_in_the_log_under_the_id_that_the_client_was_given(
    channel: grpc.aio.Channel,
    log_path: Path,
    catalog: ModelCatalog,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    def broken(entry: CatalogEntry) -> None:
        raise RuntimeError(f"no words for {entry.name}")

    monkeypatch.setattr(catalog, "_describe", broken)
    error = await refusal(channel, method, b"")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "no words" not in error.details()
    (line,) = logged(log_path)
    assert line["error_id"] == details_of(error)[ErrorInfo].metadata["error_id"]
    assert "no words for leyden-tiny-lightning-4step" in line["traceback"]
