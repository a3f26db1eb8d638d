"""The page of metrics of a real server: what it counts is what the stages did."""

import grpc
import pytest
from server.conftest import BASE, KINDS
from support.running_server import RunningServer, eventually, request
from support.scraping import OPENMETRICS, Scrape, scrape

pytestmark = pytest.mark.parametrize("server", KINDS, indirect=True)

STEPS = 100
ROWS = 2 * STEPS  # the base model guides by default


def of_model(now: Scrape, before: Scrape, name: str, **labels: str) -> float:
    return now.total(name, model=BASE, **labels) - before.total(name, model=BASE, **labels)


def test_a_request_counts_as_what_its_stages_did(server: RunningServer) -> None:
    before, engine = scrape(server.metrics_url), server.engine_stats(BASE)
    prompt = "a lighthouse that nobody else has asked for"
    server.generate(model=BASE, prompt=prompt, num_inference_steps=6, image_count=2)
    done = "nv_inference_request_success"
    eventually(lambda: of_model(scrape(server.metrics_url), before, done) == 1)

    now, engine_now = scrape(server.metrics_url, OPENMETRICS), server.engine_stats(BASE)
    runs = engine_now.unet_batches - engine.unet_batches
    assert of_model(now, before, "nv_inference_count") == 2
    assert of_model(now, before, "nv_inference_exec_count") == runs
    assert of_model(now, before, "leyden_unet_runs_total") == runs
    assert of_model(now, before, "leyden_step_duration_seconds_count") == runs
    assert of_model(now, before, "leyden_unet_rows_total") == 2 * 6 * 2
    assert engine_now.unet_rows - engine.unet_rows == 2 * 6 * 2
    for stage in ("vae_decode", "image_encode"):
        assert of_model(now, before, f"leyden_{stage}_duration_seconds_count") == 2
    parts = ["queue", "compute_input", "compute_infer", "compute_output"]
    us = [of_model(now, before, f"nv_inference_{part}_duration_us") for part in parts]
    whole = of_model(now, before, "nv_inference_request_duration_us")
    assert all(part > 0 for part in us)
    # What is between the stages is the Gateway's own.
    assert 0.5 * whole < sum(us) <= whole
    assert "lighthouse" not in now.text

    server.generate(model=BASE, prompt=prompt, num_inference_steps=1)
    cached = scrape(server.metrics_url)
    assert of_model(cached, now, "leyden_prompts_total", cached="true") == 1
    assert of_model(cached, now, "leyden_prompts_total", cached="false") == 0


def test_rows_saved_are_those_that_the_engine_did_not_run(server: RunningServer) -> None:
    server.generate(model=BASE, num_inference_steps=1)
    before, engine = scrape(server.metrics_url), server.engine_stats(BASE)
    call = server.images.GenerateImage(request(model=BASE, num_inference_steps=STEPS))
    for event in call:
        if event.denoise_progress.step == 3:
            call.cancel()
            break
    eventually(lambda: server.engine_stats(BASE).aborted == engine.aborted + 1)
    # Over Ray the question for it may overtake the departure: then the next answer brings it.
    server.generate(model=BASE, num_inference_steps=1)
    ran = server.engine_stats(BASE).unet_rows - engine.unet_rows - 2
    saved = "leyden_rows_saved_total"
    eventually(lambda: of_model(scrape(server.metrics_url), before, saved) == ROWS - ran)
    now = scrape(server.metrics_url)
    assert of_model(now, before, "nv_inference_request_failure", reason="CANCELED") == 1
    assert of_model(now, before, "leyden_left_total", how="cancelled") == 1
    assert now.total("leyden_images_running") == now.total("leyden_images_waiting") == 0


def test_a_refusal_is_no_execution(server: RunningServer) -> None:
    before = scrape(server.metrics_url)
    with pytest.raises(grpc.RpcError):
        server.generate(model=BASE, num_inference_steps=100_000)
    now = scrape(server.metrics_url)
    assert of_model(now, before, "nv_inference_request_failure", reason="OTHER") == 1
    assert of_model(now, before, "leyden_requests_refused_total", reason="INVALID_FIELD") == 1
    assert of_model(now, before, "nv_inference_exec_count") == 0


def test_every_stage_has_its_replica(server: RunningServer) -> None:
    now = scrape(server.metrics_url)
    assert now.value("leyden_gateways") == 1
    denoiser = {"stage": "denoiser", "application": f"leyden-denoiser-{BASE}"}

    def told(name: str) -> float:
        return scrape(server.metrics_url).value(name, **denoiser)

    eventually(lambda: told("leyden_stage_replicas") == told("leyden_stage_replicas_wanted") == 1)
