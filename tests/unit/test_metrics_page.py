"""What a Gateway counts, scraped over HTTP: real gRPC, stages that stand for real ones."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.certificates import Authority
from support.gateways import (
    cancel,
    generate,
    held,
    let,
    read,
    read_until,
    refusal,
    request,
    until,
)
from support.house import House, StubDenoiser, StubTextEncoder, StubVae, house
from support.patience import PATIENCE_S
from support.scraping import (
    OPENMETRICS,
    PROMETHEUS_ACCEPTS,
    Scrape,
    difference,
    scraped,
)

from leyden_server.config import GatewayConfig
from leyden_server.controller.metrics_address import MetricsAddress
from leyden_server.errors import StageFailedError, UnavailableError
from leyden_server.metrics import of_leyden
from leyden_server.metrics.ledger import Ledger
from leyden_server.metrics.table import METRICS
from leyden_server.stages.contract import DecodedImage, DecodeRequest
from leyden_server.stages.tally import DeviceMemory

MODEL = "leyden-tiny-lightning-4step"
OF_MODEL = f"{{model={MODEL}}}"
OF_TRITON = f"{{model={MODEL},version=1}}"


@pytest.fixture
def page() -> Iterator[MetricsAddress]:
    """A free port, held."""
    with MetricsAddress(GatewayConfig(metrics_port=0)) as address:
        yield address


@asynccontextmanager
async def counted(page: MetricsAddress, folder: Path, **of_house: Any) -> AsyncIterator[House]:
    """A house that shows its metrics, or one of several that do."""
    async with house(metrics_folder=folder, metrics_port=page.port, **of_house) as home:
        yield home


async def shown(page: MetricsAddress, condition: Callable[[Scrape], bool]) -> Scrape:
    """Scrape until there is a page of which the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(OSError):
                now = await scraped(page.url)
                if condition(now):
                    return now
            await asyncio.sleep(0.05)


def failure(reason: str) -> str:
    return f"nv_inference_request_failure{{model={MODEL},reason={reason},version=1}}"


async def changes(page: MetricsAddress, before: Scrape) -> dict[str, float]:
    """Return what counters have changed by, times aside."""
    now = difference(before, await scraped(page.url), "nv_inference_", "leyden_")
    times = ("duration", "seconds", "sent_bytes", "kept_bytes")
    return {name: by for name, by in now.items() if not any(word in name for word in times)}


async def test_every_metric_of_the_table_is_there_from_the_start(
    page: MetricsAddress, tmp_path: Path
) -> None:
    async with counted(page, tmp_path):
        plain, as_openmetrics = await scraped(page.url), await scraped(page.url, OPENMETRICS)
    assert (plain.content_type, as_openmetrics.content_type) == (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}" in plain.text
        bare = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        kind = "unknown" if metric.kind == "bare" else metric.kind
        assert plain.types[bare] == as_openmetrics.types[bare] == kind
    for reason in ("CANCELED", "REJECTED", "BACKEND", "OTHER"):
        assert (
            plain.value("nv_inference_request_failure", model=MODEL, version="1", reason=reason)
            == 0
        )
    assert plain.value("nv_inference_request_success", model=MODEL, version="1") == 0
    assert {key for key, _ in plain.values.items() if key[0] != "leyden_uptime_seconds"} == {
        key for key, _ in as_openmetrics.values.items() if key[0] != "leyden_uptime_seconds"
    }


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (PROMETHEUS_ACCEPTS, True),
        ("text/plain;q=0.9, application/openmetrics-text;q=0.2", False),
        ("application/openmetrics-text;q=nonsense", False),
    ],
)
async def test_the_format_is_what_the_scraper_likes_best(
    page: MetricsAddress, tmp_path: Path, accept: str, is_openmetrics: bool
) -> None:
    async with counted(page, tmp_path):
        got = await scraped(page.url, accept)
    assert got.content_type.startswith(OPENMETRICS) == is_openmetrics
    assert got.text.endswith("# EOF\n") == is_openmetrics


async def test_nothing_else_is_served(page: MetricsAddress, tmp_path: Path) -> None:
    async with counted(page, tmp_path):
        answers = []
        for line in ("GET /", "GET /metrics/../x", "POST /metrics", "HEAD /metrics"):
            reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
            writer.write(f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            answers.append((int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]))
    assert [code for code, _ in answers] == [404, 404, 405, 200]
    assert answers[-1][1] == b""


async def test_a_success_is_counted_as_what_it_was(page: MetricsAddress, tmp_path: Path) -> None:
    async with counted(page, tmp_path) as home:
        before = await scraped(page.url)
        await read(generate(home, image_count=2, prompt="an unheard-of prompt"))
        await until(lambda: home.records.records)
        assert await changes(page, before) == {
            f"nv_inference_request_success{OF_TRITON}": 1,
            f"nv_inference_count{OF_TRITON}": 2,
            f"leyden_images_total{OF_MODEL}": 2,
            f"leyden_prompts_total{{cached=true,model={MODEL}}}": 1,
        }
        after = await scraped(page.url)
    (record,) = home.records.records
    parts = ["queue", "compute_input", "compute_infer", "compute_output"]
    us = {
        part: after.value(f"nv_inference_{part}_duration_us", model=MODEL, version="1")
        for part in ["request", *parts]
    }
    assert us["request"] == round((record.total_s or 0) * 1e6)
    assert 0 < sum(us[part] for part in parts) <= us["request"]
    assert after.value("leyden_generation_duration_seconds_count", model=MODEL) == 1
    assert "unheard-of" not in after.text
    assert after.value("leyden_sent_bytes_total", protocol="leyden.v1") > 2 * 100


async def test_refusals_are_counted_under_names_of_the_listing_alone(
    page: MetricsAddress, tmp_path: Path
) -> None:
    async with counted(page, tmp_path) as home:
        before = await scraped(page.url)
        await refusal(generate(home, model=MODEL, width_px=7))
        await refusal(generate(home, model="made-up-by-a-client"))
        assert await changes(page, before) == {
            failure("OTHER"): 1,
            f"leyden_requests_refused_total{{code=INVALID_ARGUMENT,model={MODEL},"
            "reason=INVALID_FIELD}": 1,
            "leyden_requests_refused_total{code=NOT_FOUND,model=,reason=MODEL_NOT_FOUND}": 1,
        }
        assert "made-up" not in (await scraped(page.url)).text


async def test_a_full_line_refuses_with_a_reason_of_its_own(
    page: MetricsAddress, tmp_path: Path
) -> None:
    small = {"max_waiting_images": 1, "max_open_images": 1, "max_image_count": 1}
    async with counted(page, tmp_path, denoiser=held(), **small) as home:
        call = generate(home, request_id="first")
        await read_until(call, "text_encoded")
        before = await scraped(page.url)
        assert before.value("leyden_open_streams") == 1
        await refusal(generate(home, request_id="second"))
        assert await changes(page, before) == {
            failure("REJECTED"): 1,
            f"leyden_requests_refused_total{{code=RESOURCE_EXHAUSTED,model={MODEL},"
            "reason=QUEUE_FULL}": 1,
        }
        let(home)
        await read(call)


async def test_waiting_and_running_are_read_as_they_are(
    page: MetricsAddress, tmp_path: Path
) -> None:
    async with counted(page, tmp_path, denoiser=held()) as home:
        call = generate(home, image_count=3)
        await read_until(call, "text_encoded")
        await until(lambda: len(home.denoiser.running) == 3)
        await until(lambda: home.catalog.get(MODEL).line.waiting_images == 0)
        now = await scraped(page.url)
        assert now.value("leyden_images_running", model=MODEL) == 3
        assert now.value("leyden_images_waiting", model=MODEL) == 0
        assert now.value("leyden_images_open", model=MODEL) == 3
        let(home)
        await read(call)
        await until(lambda: home.catalog.get(MODEL).line.open_images == 0)
        now = await scraped(page.url)
        assert now.total("leyden_images_open") == now.total("leyden_images_running") == 0


async def test_who_waits_is_in_the_line(page: MetricsAddress, tmp_path: Path) -> None:
    encoder = StubTextEncoder(held={"x": asyncio.Event()})
    async with counted(page, tmp_path, text_encoder=encoder) as home:
        call = generate(home, image_count=2)
        await read_until(call, "queued")
        now = await scraped(page.url)
        assert now.value("leyden_images_waiting", model=MODEL) == 2
        assert now.value("leyden_line_requests", model=MODEL) == 1
        assert now.value("nv_inference_pending_request_count", model=MODEL, version="1") == 1
        encoder.held["x"].set()
        await read(call)


async def test_a_cancel_is_a_failure_and_saves_rows(page: MetricsAddress, tmp_path: Path) -> None:
    encoder = StubTextEncoder(held={"x": asyncio.Event()})
    async with counted(page, tmp_path, text_encoder=encoder) as home:
        before = await scraped(page.url)
        call = generate(home, image_count=2)
        await read_until(call, "queued")
        call.cancel()
        await until(lambda: home.records.records)
        assert await changes(page, before) == {
            failure("CANCELED"): 1,
            f"leyden_left_total{{how=cancelled,model={MODEL}}}": 1,
            f"leyden_requests_failed_total{{code=CANCELLED,model={MODEL},reason=}}": 1,
            f"leyden_rows_saved_total{OF_MODEL}": 2 * 4,
        }


async def test_an_end_by_request_is_told_from_a_departure(
    page: MetricsAddress, tmp_path: Path
) -> None:
    async with counted(page, tmp_path, denoiser=held()) as home:
        before = await scraped(page.url)
        call = generate(home, 60)
        await read_until(call, "text_encoded")
        await cancel(home)
        assert (await refusal(call)).code() is grpc.StatusCode.CANCELLED
        await until(lambda: home.records.records)
        changed = await changes(page, before)
        assert changed[failure("CANCELED")] == 1
        assert changed[f"leyden_left_total{{how=by_request,model={MODEL}}}"] == 1


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StageFailedError("denoiser", "RuntimeError: x", "1"), "INTERNAL", "INTERNAL"),
        (UnavailableError("STAGE_STALLED", "silent", 1.0), "UNAVAILABLE", "STAGE_STALLED"),
    ],
)
async def test_a_stages_error_is_the_backends(
    page: MetricsAddress, tmp_path: Path, error: Exception, code: str, reason: str
) -> None:
    async with counted(page, tmp_path, denoiser=StubDenoiser(fails_once=[error])) as home:
        before = await scraped(page.url)
        await refusal(generate(home))
        await until(lambda: home.records.records)
        changed = await changes(page, before)
    assert changed[failure("BACKEND")] == 1
    told = f"leyden_requests_failed_total{{code={code},model={MODEL},reason={reason}}}"
    assert changed[told] == 1
    assert f"nv_inference_request_success{OF_TRITON}" not in changed


async def test_a_retry_is_counted_and_the_request_a_success(
    page: MetricsAddress, tmp_path: Path
) -> None:
    died = UnavailableError("STAGE_DIED", "gone", 1.0)
    async with counted(page, tmp_path, denoiser=StubDenoiser(fails_once=[died])) as home:
        before = await scraped(page.url)
        await read(generate(home))
        await until(lambda: home.records.records)
        changed = await changes(page, before)
    assert changed[f"leyden_stage_retries_total{{model={MODEL},stage=denoiser}}"] == 1
    assert changed[f"nv_inference_request_success{OF_TRITON}"] == 1


async def test_a_slow_readers_lost_previews_are_counted(
    page: MetricsAddress, tmp_path: Path
) -> None:
    async with counted(page, tmp_path, denoiser=held()) as home:
        call = home.images.GenerateImage(request(60, preview={}), timeout=PATIENCE_S)
        await read_until(call, "text_encoded")
        log = home.generations._homes.by_name["mine"].log
        silent = log.read()  # a reader that takes nothing
        for _ in range(4):
            let(home, 1)
            assert (await read_until(call, "denoise_progress"))[-1].denoise_progress.HasField(
                "preview"
            )
        # The newest two of the four are there for it still.
        assert (await scraped(page.url)).value("leyden_previews_dropped_total") == 2
        await read(call)
        log.leave(silent)


class VaeOnAGpu(StubVae):
    """Tells of memory as a replica on a GPU does."""

    async def decode(self, request: DecodeRequest) -> DecodedImage:
        return replace(await super().decode(request), memory=DeviceMemory(10, 20, 30))


async def test_a_gpus_memory_is_shown_as_its_replica_told_it(
    page: MetricsAddress, tmp_path: Path
) -> None:
    async with counted(page, tmp_path, vae=VaeOnAGpu()) as home:
        assert (await scraped(page.url)).total("leyden_gpu_memory_bytes") == 0
        await read(generate(home))
        now = await scraped(page.url)
    for kind, size_bytes in {"reserved": 10, "used": 20, "total": 30}.items():
        assert now.value("leyden_gpu_memory_bytes", replica="vae#1", kind=kind) == size_bytes


async def test_a_disk_that_takes_nothing_leaves_the_page_alone(
    page: MetricsAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "metrics"
    async with counted(page, folder) as home:
        await read(generate(home))
        await until(lambda: home.records.records)
        folder.rename(tmp_path / "gone")
        for _ in range(2):
            assert (await scraped(page.url)).total("nv_inference_count") == 1
    assert caplog.text.count("metrics are not written for other Gateways") == 1


async def test_the_first_gateway_shows_all_and_another_takes_over(
    page: MetricsAddress, tmp_path: Path
) -> None:
    """Two Gateways of a machine: one page, which never loses what was counted."""
    async with counted(page, tmp_path, replica="gateway#2") as second:
        async with counted(page, tmp_path, replica="gateway#1") as first:
            await read(generate(second))
            await read(generate(first, image_count=2))
            await until(lambda: second.records.records and first.records.records)

            now = await shown(page, lambda now: now.total("nv_inference_count") == 3)
            assert now.total("nv_inference_request_success") == 2
            assert now.value("leyden_gateways") == 2
            assert now.value("leyden_stage_replicas", application="stage", stage="vae") == 1
        # The first one to come serves the page; the other one's numbers outlive it.
        now = await scraped(page.url)
        assert now.total("nv_inference_count") == 3
        assert now.value("leyden_gateways") == 1
        async with counted(page, tmp_path, replica="gateway#3") as third:
            await read(generate(third))
            await until(lambda: third.records.records)
            await second.server.stop()  # and with it, its page

            now = await shown(page, lambda _: True)
            assert now.total("nv_inference_count") == 4
            assert now.value("leyden_gateways") == 1


async def test_a_gateway_that_drains_says_so(page: MetricsAddress, tmp_path: Path) -> None:
    async with counted(page, tmp_path, denoiser=held(), drain_timeout_s=PATIENCE_S) as home:
        call = generate(home)
        await read_until(call, "text_encoded")
        assert (await scraped(page.url)).value("leyden_gateways_draining") == 0
        stopping = asyncio.create_task(home.server.stop())
        await shown(page, lambda now: now.value("leyden_gateways_draining") == 1)
        let(home)
        await read(call)
        await stopping


async def test_the_expiry_is_the_certificates_that_was_read_last(
    page: MetricsAddress, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority = Authority()
    authority.issue(ends=timedelta(days=3)).write(certificate, key)
    files = {"tls_certificate": str(certificate), "tls_private_key": str(key)}

    def expires_within(now: Scrape, days: tuple[int, int]) -> bool:
        left_s = now.value("leyden_certificate_expiry_timestamp_seconds") - time.time()
        return days[0] < left_s / 86400 < days[1]

    async with counted(page, tmp_path / "metrics", **files):
        assert expires_within(await scraped(page.url), (2, 3))
        authority.issue(ends=timedelta(days=90)).write(certificate, key)
        await shown(page, lambda now: expires_within(now, (89, 90)))


def test_of_several_gateways_the_first_expiry_counts() -> None:
    """While a new certificate spreads, the old one is still shown by some."""
    expiry = of_leyden.CERTIFICATE_EXPIRY
    soon, later = Ledger(), Ledger()
    soon.put(expiry, (), 1.0)
    later.put(expiry, (), 2.0)
    for order in ((soon, later), (later, soon)):
        together = Ledger()
        for ledger in order:
            together.merge(ledger, expiry)
        assert together.value(expiry) == 1.0
