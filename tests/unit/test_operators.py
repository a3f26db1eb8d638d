"""What is for operators alone, in both protocols: by the key, or by where the caller is."""

import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.gateways import reason
from support.house import house
from support.kserve import infer_request, stub_of
from support.patience import PATIENCE_S

from leyden.v1 import model_service_pb2 as pb
from leyden.v1 import model_service_pb2_grpc as pb_grpc
from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as triton_pb

MODEL = "leyden-tiny-lightning-4step"
Metadata = tuple[tuple[str, str], ...]
Call = Callable[[grpc.aio.Channel, Metadata], Any]


def native(method: str, request: Any) -> Call:
    return lambda channel, metadata: getattr(pb_grpc.ModelServiceStub(channel), method)(
        request, metadata=metadata, timeout=PATIENCE_S
    )


def triton(method: str, request: Any) -> Call:
    return lambda channel, metadata: getattr(stub_of(channel), method)(
        request, metadata=metadata, timeout=PATIENCE_S
    )


def changed_log() -> triton_pb.LogSettingsRequest:
    request = triton_pb.LogSettingsRequest()
    request.settings["log_verbose_level"].uint32_param = 1
    return request


def changed_trace() -> triton_pb.TraceSettingRequest:
    request = triton_pb.TraceSettingRequest()
    request.settings["trace_rate"].value.append("7")
    return request


REGISTER = triton_pb.SystemSharedMemoryRegisterRequest(name="r", key="/nothing", byte_size=1)
FOR_OPERATORS: dict[str, Call] = {
    "LoadModel": native("LoadModel", pb.LoadModelRequest(model=MODEL)),
    "GetServerState": native("GetServerState", pb.GetServerStateRequest()),
    "UnloadModel": native("UnloadModel", pb.UnloadModelRequest(model="absent")),
    "RepositoryModelLoad": triton(
        "RepositoryModelLoad", triton_pb.RepositoryModelLoadRequest(model_name=MODEL)
    ),
    "RepositoryModelUnload": triton(
        "RepositoryModelUnload", triton_pb.RepositoryModelUnloadRequest(model_name="absent")
    ),
    "TraceSetting": triton("TraceSetting", changed_trace()),
    "LogSettings": triton("LogSettings", changed_log()),
}
FOR_ALL: dict[str, Call] = {
    "ListModels": native("ListModels", pb.ListModelsRequest()),
    "RepositoryIndex": triton("RepositoryIndex", triton_pb.RepositoryIndexRequest()),
    "TraceSetting": triton("TraceSetting", triton_pb.TraceSettingRequest()),
    "LogSettings": triton("LogSettings", triton_pb.LogSettingsRequest()),
    "ModelInfer": triton("ModelInfer", infer_request(MODEL, ["seed"], prompt="x")),
}
OPEN: dict[str, Call] = {
    "ServerLive": triton("ServerLive", triton_pb.ServerLiveRequest()),
    "ServerReady": triton("ServerReady", triton_pb.ServerReadyRequest()),
}


async def refused(call: Call, channel: grpc.aio.Channel, metadata: Metadata = ()) -> str:
    """Return the reason of a refusal for who calls; empty: the call was his to make."""
    try:
        await call(channel, metadata)
    except grpc.aio.AioRpcError as error:
        if error.code() in {
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.UNAUTHENTICATED,
        }:
            return reason(error)
    return ""


def own_address() -> str:
    """Return an address of this machine that is not a loopback one; skip where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only looks up the way
        except OSError:
            pytest.skip("this machine has no network")
        host: str = probe.getsockname()[0]
    if host.startswith("127."):
        pytest.skip("this machine has no network")
    return host


@pytest.fixture
async def abroad() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server without keys, by an address that is not loopback."""
    host = own_address()
    async with (
        house(host=host, insecure=True) as home,
        grpc.aio.insecure_channel(home.address) as channel,
    ):
        yield channel


@pytest.mark.parametrize("method", FOR_OPERATORS)
async def test_without_keys_it_is_for_callers_on_this_machine(
    abroad: grpc.aio.Channel, method: str
) -> None:
    assert await refused(FOR_OPERATORS[method], abroad) == "OPERATOR_ONLY"
    async with house() as home:
        assert await refused(FOR_OPERATORS[method], home.channel) == ""


async def test_without_keys_everybody_may_have_the_rest(abroad: grpc.aio.Channel) -> None:
    for method, call in {**FOR_ALL, **OPEN}.items():
        assert await refused(call, abroad) == "", method


async def test_with_keys_it_is_for_operators_keys_wherever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    keys = {name: new_key() for name in ("app", "ops")}
    KeyFile(
        keys=tuple(
            KeyEntry.of(key, name, operator=name == "ops", images_per_minute=1000)
            for name, key in keys.items()
        )
    ).write(path)

    def of(name: str) -> Metadata:
        return (("authorization", f"Bearer {keys[name]}"),)

    async with house(api_keys=str(path), shared_memory=True) as home:
        channel = home.channel
        calls = {**FOR_OPERATORS, "Register": triton("SystemSharedMemoryRegister", REGISTER)}
        for method, call in calls.items():
            assert await refused(call, channel) == "UNAUTHENTICATED", method
            assert await refused(call, channel, of("app")) == "OPERATOR_ONLY", method
            assert await refused(call, channel, of("ops")) == "", method
        for method, call in FOR_ALL.items():
            assert await refused(call, channel) == "UNAUTHENTICATED", method
            assert await refused(call, channel, of("app")) == "", method
        for method, call in OPEN.items():
            assert await refused(call, channel) == "", method


async def test_a_key_holds_in_the_other_protocol_as_well(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    key = new_key()
    entry = KeyEntry.of(key, "app", images_at_once=1, most_priority=3, images_per_minute=2)
    KeyFile(keys=(entry,)).write(path)
    metadata = (("authorization", f"Bearer {key}"),)

    async with house(api_keys=str(path)) as home:
        stub = stub_of(home.channel)

        async def code(priority: int = 0, prompts: int = 1) -> str:
            asked = infer_request(MODEL, ["seed"], {"priority": priority}, prompt=["x"] * prompts)
            try:
                await stub.ModelInfer(asked, metadata=metadata, timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return reason(error)
            return "OK"

        assert await code(priority=2) == "PRIORITY_NOT_ALLOWED"
        assert await code(priority=3) == "OK"
        assert await code() == "OK"
        assert await code() == "RATE_LIMITED"
        told = [(record.key, record.code) for record in home.records.records]
        assert told == [
            ("app", "PERMISSION_DENIED"),
            ("app", "OK"),
            ("app", "OK"),
            ("app", "RESOURCE_EXHAUSTED"),
        ]
