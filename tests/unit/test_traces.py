"""Traces of a Gateway before stages that compute nothing, as a collector receives them."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from support.gateways import Owners, cancel, generate, held, let, read, read_until, refusal, until
from support.house import House, StubTextEncoder, house
from support.kserve import infer_request, stub_of
from support.patience import PATIENCE_S
from support.running_server import request
from support.trace_collector import TraceCollector, attributes, collecting

from leyden_client import AsyncClient, Client
from leyden_server.config import GatewayConfig
from leyden_server.errors import ConfigError, StartupError
from leyden_server.gateway import otlp, tracing
from leyden_server.gateway.otlp import OtlpTracing
from leyden_server.generations.records import RequestRecord
from leyden_server.generations.tracing import UNTRACED, TraceContext

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
METHOD = "leyden.v1.ImageGenerationService/GenerateImage"
STAGES = ["queue", "denoise_step", "vae_decode", "image_encode"]


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    with collecting() as running:
        yield running


async def test_a_request_is_a_span_and_its_work_is_below_it(collector: TraceCollector) -> None:
    async with house(trace_endpoint=collector.endpoint) as home:
        began_s = time.time()
        call = home.images.GenerateImage(
            request(prompt="a secret", image_count=2, seed=7),
            metadata=(("traceparent", SAMPLED), ("tracestate", "vendor=1")),
        )
        await read(call)
    (root,) = collector.requests(1)

    assert root.name == METHOD
    assert root.trace_id.hex() == SAMPLED.split("-")[1]
    assert root.parent_span_id.hex() == SAMPLED.split("-")[2]
    assert root.trace_state == "vendor=1"
    assert began_s * 1e9 <= root.start_time_unix_nano <= root.end_time_unix_nano <= time.time_ns()
    assert root.status.code == Status.STATUS_CODE_UNSET
    told = attributes(root)
    assert told["rpc.system.name"] == "grpc"
    assert told["rpc.method"] == METHOD
    assert told["rpc.response.status_code"] == "OK"
    assert told["leyden.model"] == "leyden-tiny-lightning-4step"
    assert (told["leyden.image_count"], told["leyden.num_inference_steps"]) == (2, 4)
    assert (told["leyden.width_px"], told["leyden.height_px"]) == (256, 256)

    names = [span.name for span in collector.below(root)]
    assert {name: names.count(name) for name in STAGES} == {
        "queue": 2,
        "denoise_step": 8,
        "vae_decode": 2,
        "image_encode": 2,
    }
    steps = [attributes(s) for s in collector.below(root) if s.name == "denoise_step"]
    assert {(s["leyden.image_index"], s["leyden.step"]) for s in steps} == {
        (image, step) for image in range(2) for step in range(1, 5)
    }
    assert {s["leyden.batch_rows"] for s in steps} == {1}
    assert {s["leyden.replica"] for s in steps} == {"denoise#1"}
    assert {s["leyden.timestep"] for s in steps} == {999.0}
    (resource,) = {tuple(sorted(r.items())) for r in collector.resources}
    assert dict(resource)["service.name"] == "leyden"
    assert dict(resource)["leyden.replica"] == "gateway#1"
    assert b"a secret" not in b"".join(span.SerializeToString() for span in collector.spans)


async def test_calls_of_kserve_are_traced_and_logged_as_what_they_are(
    collector: TraceCollector,
) -> None:
    asked = infer_request("leyden-tiny-lightning-4step", ["image"], prompt=["one", "two"])
    refused = infer_request("no-such-model", prompt=["one"])
    headers = (("traceparent", SAMPLED),)
    async with house(trace_endpoint=collector.endpoint) as home:
        stub = stub_of(home.channel)
        await stub.ModelInfer(asked, metadata=headers)
        await refusal(stub.ModelInfer(refused, metadata=headers))
        stream = stub.ModelStreamInfer(iter([asked]), metadata=headers)
        assert [response async for response in stream]
        records = home.records.records
    roots = collector.requests(5)
    assert {root.trace_id.hex() for root in roots} == {SAMPLED.split("-")[1]}
    service = "inference.GRPCInferenceService"
    assert [root.name for root in roots] == [
        *[f"{service}/ModelInfer"] * 3,
        *[f"{service}/ModelStreamInfer"] * 2,
    ]
    codes = [attributes(root)["rpc.response.status_code"] for root in roots]
    assert codes == ["OK", "OK", "NOT_FOUND", "OK", "OK"]
    steps = [s for s in collector.below(roots[0]) if s.name == "denoise_step"]
    assert len(steps) == 4
    assert {record.line()["protocol"] for record in records} == {"kserve.v2"}
    assert {record.line()["trace_id"] for record in records} == {SAMPLED.split("-")[1]}


async def test_a_trace_begins_here_where_the_client_names_none(collector: TraceCollector) -> None:
    async with house(trace_endpoint=collector.endpoint) as home:
        await read(generate(home))
        call = home.images.GenerateImage(request(), metadata=(("traceparent", "no such thing"),))
        await read(call)
    first, second = collector.requests(2)
    assert not first.parent_span_id
    assert not second.parent_span_id
    assert first.trace_id != second.trace_id
    assert [r.trace.trace_id for r in home.records.records] == [
        first.trace_id.hex(),
        second.trace_id.hex(),
    ]


async def test_a_refusal_and_a_cancel_show_as_what_they_are(collector: TraceCollector) -> None:
    async with house(trace_endpoint=collector.endpoint, denoiser=held()) as home:
        await refusal(generate(home, num_inference_steps=5))
        call = generate(home)
        await read_until(call, "text_encoded")
        let(home, 1)
        await call.read()
        await cancel(home)
        await refusal(call)
        malformed: Any = home.channel.unary_stream(f"/{METHOD}", None, None)
        await refusal(malformed(b"\xff"))
    roots = collector.requests(3)
    assert [
        (attributes(r)["rpc.response.status_code"], attributes(r)["error.type"]) for r in roots
    ] == [
        ("INVALID_ARGUMENT", "INVALID_FIELD"),
        ("CANCELLED", "CANCELLED_BY_REQUEST"),
        ("INVALID_ARGUMENT", "INVALID_FIELD"),
    ]
    assert {r.status.code for r in roots} == {Status.STATUS_CODE_ERROR}
    assert [s.name for s in collector.below(roots[1])] == ["queue", "denoise_step"]


async def test_an_error_of_a_stage_shows(collector: TraceCollector) -> None:
    encoder = StubTextEncoder(errors={"x": ValueError("inner words")})
    async with house(trace_endpoint=collector.endpoint, text_encoder=encoder) as home:
        await refusal(generate(home))
    (root,) = collector.requests(1)
    assert (root.status.code, root.status.message) == (Status.STATUS_CODE_ERROR, "INTERNAL")
    assert b"inner words" not in root.SerializeToString()


def test_the_flag_of_the_client_decides_and_else_the_ratio() -> None:
    record = RequestRecord(peer="x", method=METHOD)
    for ratio in (0.0, 1.0):
        traces = OtlpTracing("http://127.0.0.1:9", ratio, "gateway#1")
        assert traces.begin(record, TraceContext(NOT_SAMPLED)) is UNTRACED
        trace_id = traces.begin(record, TraceContext(SAMPLED)).trace_id
        assert trace_id == SAMPLED.split("-")[1]
        assert (traces.begin(record, None) is UNTRACED) == (ratio == 0.0)


async def test_a_relayed_call_has_its_span_where_the_generation_is(
    collector: TraceCollector,
) -> None:
    owners = Owners()
    settings: dict[str, Any] = {"join": owners.join, "replicas": 2}
    async with (
        house(trace_endpoint=collector.endpoint, **settings) as here,
        house(**settings, denoiser=held()) as there,
    ):
        owners.owners["mine"] = await _address(owners, here)
        call = there.images.GenerateImage(
            request(request_id="mine"), metadata=(("traceparent", SAMPLED),)
        )
        await read(call)
    _, root = collector.requests(2)
    assert root.trace_id.hex() == SAMPLED.split("-")[1]


async def test_the_python_client_sends_the_span_that_is_current(
    collector: TraceCollector,
) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    spans = TracerProvider().get_tracer("test")
    async with (
        house(trace_endpoint=collector.endpoint) as home,
        AsyncClient(home.address) as client,
    ):
        with spans.start_as_current_span("ours") as span:
            await client.generate_image("x")
        with spans.start_as_current_span("blocking"):
            await asyncio.to_thread(_generate, home.address)
        await client.generate_image("x")
        context = span.get_span_context()
    asynchronous, blocking, alone = collector.requests(3)
    assert int.from_bytes(asynchronous.trace_id) == context.trace_id
    assert int.from_bytes(asynchronous.parent_span_id) == context.span_id
    assert blocking.parent_span_id
    assert not alone.parent_span_id


async def test_what_the_environment_says_of_telemetry_holds(
    collector: TraceCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=mine")
    async with house(trace_endpoint=collector.endpoint) as home:
        await read(generate(home))
    collector.requests(1)
    assert collector.resources[0]["service.name"] == "pictures"
    assert collector.metadata["x-tenant"] == "mine"


@pytest.mark.parametrize("path", ["", "/v1/traces"])
async def test_a_collector_that_is_away_costs_a_line_of_the_log_and_no_request(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the Gateway's end waits for it 2 s, not the 30 s that the SDK would."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setattr(otlp._SELDOM, "_next_s", 0.0)
    async with house(trace_endpoint=f"http://127.0.0.1:9{path}") as home:
        for _ in range(2):
            events = await read(generate(home))
            assert events[-1].HasField("summary")
            await until(lambda: "Transient error" in caplog.text)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 15
    by_name = [record.name.partition(".")[0] for record in caplog.records]
    assert by_name == ["opentelemetry", "leyden_server"], caplog.text
    assert "the collector of traces does not answer" in caplog.records[-1].message


@pytest.mark.parametrize(
    "endpoint", ["localhost:4317", "http://", "http://me:secret@host", "grpc://host"]
)
def test_an_endpoint_that_is_none_is_named(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="trace_endpoint"):
        GatewayConfig.from_mapping({"trace_endpoint": endpoint}, "options", ConfigError)


def test_a_missing_extra_is_one_line_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    config = GatewayConfig(trace_endpoint="http://localhost:4317")
    with pytest.raises(StartupError) as caught:
        tracing.check_tracing(config)
    assert "gateway.trace_endpoint" in str(caught.value)
    assert "pip install 'leyden[tracing]'" in str(caught.value)
    tracing.check_tracing(GatewayConfig())


OFF = """
import asyncio, sys
from leyden.v1 import image_generation_service_pb2 as pb
from support.house import house

async def main():
    async with house() as home:
        request = pb.GenerateImageRequest(prompt="x")
        kinds = [event.WhichOneof("event") async for event in home.images.GenerateImage(request)]
        assert kinds[-1] == "summary", kinds

asyncio.run(main())
assert "leyden_client" not in sys.modules
import leyden_client, leyden_client._follow
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_nothing_of_it_is_imported_where_nothing_is_traced() -> None:
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join((str(tests), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", OFF],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def _generate(address: str) -> None:
    with Client(address) as client:
        client.generate_image("x")


async def _address(owners: Owners, home: House) -> str:
    """Return a Gateway's address for its peers, which it says where it claims a name."""
    await read(generate(home, request_id="to-learn-it", linger_s=5))
    return owners.owners["to-learn-it"]
