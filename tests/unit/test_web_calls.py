"""leyden.v1 over Connect and gRPC-Web, called by connectrpc's own client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from support.gateways import (
    Owners,
    cancel,
    generate,
    held,
    kinds,
    let,
    read,
    read_until,
    request,
    until,
    watch,
)
from support.house import House, StubDenoiser, StubVae
from support.trace_collector import attributes, collecting
from support.web import Connected, address, connected, web_house

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.gateway.server import GatewayServer

CONNECT, WEB = ProtocolType.CONNECT, ProtocolType.GRPC_WEB
WAYS = [(CONNECT, False), (CONNECT, True), (WEB, False)]
"""Protocol, and whether in JSON."""


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with web_house(denoiser=held()) as home:
        yield home


@pytest.fixture
async def client(home: House) -> AsyncIterator[Connected]:
    async with connected(f"http://{address(home)}") as client:
        yield client


async def read_all(events: Any) -> list[pb.GenerateImageResponse]:
    return [event async for event in events]


async def error_of(work: Any) -> ConnectError:
    with pytest.raises(ConnectError) as raised:
        await (read_all(work) if hasattr(work, "__aiter__") else work)
    return raised.value


def details(error: ConnectError) -> dict[type[Message], Any]:
    known = {kind.DESCRIPTOR.full_name: kind for kind in (ErrorInfo, BadRequest, RetryInfo)}
    return {
        known[detail.type_name]: known[detail.type_name].FromString(detail.message_bytes)
        for detail in error.details
    }


@pytest.mark.parametrize(("protocol", "json"), WAYS)
async def test_it_generates_what_grpc_does(protocol: ProtocolType, json: bool) -> None:
    async with (
        web_house(denoiser=StubDenoiser(previews=True)) as home,
        connected(f"http://{address(home)}", protocol=protocol, as_json=json) as client,
    ):
        asked: dict[str, Any] = {
            "seed": 2**53 - 1,
            "prompt": "一座灯塔",
            "preview": pb.PreviewOptions(),
        }
        over_grpc = await read(generate(home, **asked))
        over_http = await read_all(client.generate(request(**asked)))
        assert kinds(over_http) == kinds(over_grpc)
        images = [
            [e.image for e in events if e.HasField("image")] for events in (over_grpc, over_http)
        ]
        assert images[0] == images[1]
        assert any(event.denoise_progress.preview.data for event in over_http)
        assert [record.protocol for record in home.records.records] == [
            "leyden.v1",
            "grpc-web" if protocol is WEB else "connect",
        ]
        assert {record.code for record in home.records.records} == {"OK"}


@pytest.mark.parametrize(("protocol", "json"), WAYS)
async def test_an_error_has_its_code_text_and_details(protocol: ProtocolType, json: bool) -> None:
    async with (
        web_house() as home,
        connected(f"http://{address(home)}", protocol=protocol, as_json=json) as client,
    ):
        error = await error_of(client.generate(request(width_px=3, num_inference_steps=999)))
        assert error.code is Code.INVALID_ARGUMENT
        found = details(error)
        assert (found[ErrorInfo].reason, found[ErrorInfo].domain) == ("INVALID_FIELD", "leyden")
        fields = {violation.field for violation in found[BadRequest].field_violations}
        assert fields == {"width_px", "num_inference_steps"}
        missing = await error_of(client.cancel("nobody-knows-it"))
        assert missing.code is Code.NOT_FOUND
        assert details(missing)[ErrorInfo].reason == "GENERATION_NOT_FOUND"


async def test_when_to_come_back_is_told(home: House, client: Connected) -> None:
    await home.server.generations.drain(0.0)
    error = await error_of(client.generate(request()))
    assert error.code is Code.UNAVAILABLE
    assert details(error)[ErrorInfo].reason == "DRAINING"
    assert details(error)[RetryInfo].retry_delay.seconds > 0


async def test_models_are_read_and_not_loaded(home: House, client: Connected) -> None:
    assert await client.list_models() == ["leyden-tiny-lightning-4step"]
    state = await client.server_state()
    assert [gateway.replica for gateway in state.gateways] == ["gateway#1"], home.records.defects
    missing = await client.post("leyden.v1.ModelService/LoadModel", b"{}")
    assert missing.status == 404


async def test_leaving_ends_the_work(home: House, client: Connected) -> None:
    async with aclosing(client.generate(request())) as events:
        async for event in events:
            if event.HasField("text_encoded"):
                break
        await until(lambda: home.denoiser.running)
    await until(lambda: not home.denoiser.running)
    await until(lambda: home.records.records)
    assert [record.code for record in home.records.records] == ["CANCELLED"]


async def test_a_deadline_ends_the_work(home: House, client: Connected) -> None:
    client.headers["connect-timeout-ms"] = "300"  # of a client that does not leave by itself
    stream = await client.stream(
        "leyden.v1.ImageGenerationService/GenerateImage", b'{"prompt": "x"}'
    )
    assert b"deadline_exceeded" in stream
    await until(lambda: home.records.records)
    [record] = home.records.records
    assert record.timeout_s is not None
    assert 0 < record.timeout_s <= 0.3
    assert record.code == "DEADLINE_EXCEEDED"
    assert not home.denoiser.running


async def test_what_was_begun_over_grpc_is_watched_and_cancelled_here(
    home: House, client: Connected
) -> None:
    call = generate(home, 60)
    await read_until(call, "text_encoded")
    watching = client.watch(pb.WatchGenerationRequest(request_id="mine", after_event_index=0))
    first = await anext(aiter(watching))
    assert (first.event_index, first.WhichOneof("event")) == (1, "text_encoded")
    await client.cancel("mine")
    error = await error_of(watching)
    assert error.code is Code.CANCELED
    assert details(error)[ErrorInfo].reason == "CANCELLED_BY_REQUEST"


async def test_what_was_begun_here_lingers_for_grpc(home: House, client: Connected) -> None:
    async with aclosing(client.generate(request(60.0))) as events:
        async for event in events:
            if event.HasField("text_encoded"):
                break
    let(home)
    assert kinds(await read(watch(home)))[-1] == "summary"


@pytest.mark.parametrize("protocol", [CONNECT, WEB])
async def test_another_gateways_generation_is_watched_and_cancelled(
    protocol: ProtocolType,
) -> None:
    owners = Owners()
    several: dict[str, Any] = {"join": owners.join, "replicas": 2}
    async with (
        web_house(denoiser=held(), **several) as here,
        web_house(denoiser=held(), **several) as there,
        connected(f"http://{address(there)}", protocol=protocol) as client,
    ):
        call = generate(here, 60)
        begun = await read_until(call, "text_encoded")
        let(here, 1)
        watching = client.watch(pb.WatchGenerationRequest(request_id="mine"))
        events = [await anext(aiter(watching)) for _ in begun]
        assert kinds(events) == kinds(begun)
        await client.cancel("mine")
        error = await error_of(watching)
        assert details(error)[ErrorInfo].reason == "CANCELLED_BY_REQUEST"
        await cancel(here)


async def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    slow = {"write_timeout_s": 0.5, "max_waiting_images": 8}
    async with web_house(vae=StubVae(size_bytes=3_000_000), **slow) as home:
        host, _, port = address(home).partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**12)
        body = b'{"prompt": "x", "imageCount": 8}'
        writer.write(
            b"POST /leyden.v1.ImageGenerationService/GenerateImage HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/connect+json\r\ncontent-length: %d\r\n\r\n\x00"
            % (len(body) + 5)
            + len(body).to_bytes(4, "big")
            + body
        )
        await reader.readline()
        await until(lambda: home.records.records)
        [record] = home.records.records
        assert (record.code, record.reason) == ("RESOURCE_EXHAUSTED", "READER_TOO_SLOW")
        await until(lambda: home.generations.holdings.unsent_bytes == 0)
        writer.close()


async def test_a_stop_lets_what_runs_finish() -> None:
    async with web_house(denoiser=held(), drain_timeout_s=20.0) as home:
        server: GatewayServer = home.server
        async with connected(f"http://{address(home)}") as client:
            events = client.generate(request())
            await anext(aiter(events))
            stopping = asyncio.create_task(server.stop())
            await until(lambda: home.generations.is_draining)
            refused = await error_of(client.generate(request(request_id="other")))
            assert refused.code is Code.UNAVAILABLE
            let(home)
            assert kinds(await read_all(events))[-1] == "summary"
            await stopping


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"promt": "a secret"}', "promt"),
        (b'{"prompt": "a secret", "widthPx": "wide"}', "widthPx"),
        (b"a secret", ""),
        (b"\xff\xfe", ""),
        (b"[" * 5000, ""),
    ],
)
async def test_json_that_is_wrong_is_named_and_not_quoted(
    home: House, client: Connected, body: bytes, field: str
) -> None:
    answer = await client.post("leyden.v1.ImageGenerationService/CancelGeneration", body)
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    answer = await client.post("leyden.v1.ModelService/GetModel", b"{}")
    assert answer.status == 200
    stream = await client.stream("leyden.v1.ImageGenerationService/GenerateImage", body)
    assert b'"code":"invalid_argument"' in stream.replace(b" ", b"")
    assert field.encode() in stream
    assert b"secret" not in stream
    [record] = home.records.records
    assert record.code == "INVALID_ARGUMENT"
    assert "secret" not in record.message


async def test_junk_in_binary_is_an_invalid_argument(home: House, client: Connected) -> None:
    answer = await client.post(
        "leyden.v1.ModelService/GetModel", b"\xff\xff", content_type="application/proto"
    )
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    assert "GetModelRequest" in answer.json()["message"]


async def test_a_request_over_the_limit_is_refused() -> None:
    async with (
        web_house(max_request_bytes=1024) as home,
        connected(f"http://{address(home)}") as client,
    ):
        error = await error_of(client.generate(request(prompt="x" * 4096)))
        assert error.code is Code.RESOURCE_EXHAUSTED


async def test_grpc_itself_is_told_where_it_belongs(client: Connected) -> None:
    answer = await client.post(
        "leyden.v1.ModelService/GetModel", b"", content_type="application/grpc+proto"
    )
    assert answer.status == 415
    assert "gRPC has a port of its own" in answer.text


async def test_it_is_counted_and_traced_by_what_is_spoken() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with collecting() as collector:
        async with (
            web_house(openai=True, trace_endpoint=collector.endpoint) as home,
            connected(f"http://{address(home)}") as client,
        ):
            client.headers["traceparent"] = parent
            await read_all(client.generate(request()))
            answer = await client.post("v1/images/generations", b'{"prompt": "x"}')
            assert answer.status == 200
            assert set(home.records.sent_bytes) == {"connect", "openai"}
            assert min(home.records.sent_bytes.values()) > 100
        spans = collector.requests(2)
    assert {span.trace_id.hex() for span in spans} == {parent.split("-")[1]}
    assert {attributes(span)["rpc.system.name"] for span in spans} == {"connectrpc", "openai"}
