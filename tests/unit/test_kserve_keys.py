"""API keys and KServe's protocol: the same door, and operators' methods are theirs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.gateways import refusal, until
from support.house import House, house
from support.kserve import infer_request, stub_of
from support.patience import PATIENCE_S

from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb

MODEL = "leyden-tiny-lightning-4step"
OPERATORS = {
    "RepositoryModelLoad": pb.RepositoryModelLoadRequest(model_name=MODEL),
    "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name="nosuch"),
    "TraceSetting": pb.TraceSettingRequest(
        settings={"trace_level": pb.TraceSettingRequest.SettingValue(value=["OFF"])}
    ),
    "LogSettings": pb.LogSettingsRequest(
        settings={"log_info": pb.LogSettingsRequest.SettingValue(bool_param=True)}
    ),
}


@pytest.fixture
def keys() -> dict[str, str]:
    return {"alice": new_key(), "bob": new_key(), "ops": new_key()}


@pytest.fixture
async def home(keys: dict[str, str], tmp_path: Path) -> AsyncIterator[House]:
    path = tmp_path / "keys.yaml"
    entries = (
        KeyEntry.of(keys["alice"], "alice"),
        KeyEntry.of(keys["bob"], "bob", images_per_minute=3, images_at_once=4),
        KeyEntry.of(keys["ops"], "ops", operator=True),
    )
    KeyFile(keys=entries).write(path)
    async with house(api_keys=str(path)) as home:
        yield home


def call(home: House, method: str, request: Any, key: str = "") -> Any:
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    return getattr(stub_of(home.channel), method)(request, metadata=metadata, timeout=PATIENCE_S)


async def test_without_a_key_nobody_is_let_in(home: House) -> None:
    for method, request in {"ModelInfer": infer_request(MODEL, prompt="x"), **OPERATORS}.items():
        error = await refusal(call(home, method, request))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    stream = stub_of(home.channel).ModelStreamInfer(timeout=PATIENCE_S)
    assert (await refusal(stream)).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_request_is_its_keys(home: House, keys: dict[str, str]) -> None:
    request = infer_request(MODEL, ["seed"], prompt="x")
    assert len((await call(home, "ModelInfer", request, keys["alice"])).outputs) == 1
    stream = stub_of(home.channel).ModelStreamInfer(
        metadata=(("authorization", f"Bearer {keys['ops']}"),), timeout=PATIENCE_S
    )
    await stream.write(request)
    assert not (await stream.read()).error_message
    await until(lambda: len(home.records.records) == 2)
    stream.cancel()
    assert [record.key for record in home.records.records] == ["alice", "ops"]


@pytest.mark.parametrize("method", OPERATORS)
async def test_what_is_for_operators_is_for_them_alone(
    home: House, keys: dict[str, str], method: str
) -> None:
    error = await refusal(call(home, method, OPERATORS[method], keys["alice"]))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert method in error.details()
    if method in {"TraceSetting", "LogSettings"}:
        assert (await call(home, method, OPERATORS[method], keys["ops"])).settings


async def test_rows_are_let_in_all_or_none_and_a_refusal_costs_nothing(
    home: House, keys: dict[str, str]
) -> None:
    def infer(rows: int) -> Any:
        request = infer_request(MODEL, ["seed"], prompt=[f"cat {row}" for row in range(rows)])
        return call(home, "ModelInfer", request, keys["bob"])

    # Not a matter of when: no pushback would help.
    error = await refusal(infer(5))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "4 images at once here; got 5 in one request" in str(error.details())
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "-1"
    await infer(1)
    for _ in range(3):
        assert "3 images a minute" in str((await refusal(infer(3))).details())
    # Nothing was spent on those.
    await infer(2)
