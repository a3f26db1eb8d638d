"""A replica that dies: the request goes on or is told UNAVAILABLE; the next one works."""

from typing import Any

import grpc
import psutil
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from server.conftest import BASE
from support.patience import PATIENCE_S
from support.running_server import RunningServer, details_of, eventually, request


def replica_process(deployment: str, model_or_base: str) -> psutil.Process | None:
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue  # it ended while we looked
        if f":{deployment}" in title and model_or_base in title and "ServeReplica" in title:
            return process
    return None


def kill_the_denoiser() -> None:
    process = replica_process("Denoiser", BASE)
    assert process is not None
    process.kill()
    process.wait(PATIENCE_S)


def test_a_generation_survives_the_death_of_its_replica(ray_server: RunningServer) -> None:
    fields: dict[str, Any] = {"model": BASE, "num_inference_steps": 60, "seed": 4}
    expected = ray_server.generate(**fields).pixels()
    events = []
    for event in ray_server.images.GenerateImage(request(**fields), timeout=PATIENCE_S):
        events.append(event)
        if event.denoise_progress.step == 5:
            kill_the_denoiser()
    steps = [e.denoise_progress.step for e in events if e.HasField("denoise_progress")]
    assert steps == list(range(1, 61)), "progress must neither repeat nor skip"
    assert [e.event_index for e in events] == list(range(len(events)))
    assert events[-1].summary.retries == 1
    again = ray_server.generate(**fields)
    assert (again.pixels() == expected).all()
    assert again.summary.retries == 0


def test_when_retries_run_out_it_is_unavailable_and_the_next_request_works(
    ray_server: RunningServer,
) -> None:
    def kill_at_steps(*steps: int) -> None:
        call = ray_server.images.GenerateImage(
            request(model=BASE, num_inference_steps=100, seed=4), timeout=PATIENCE_S
        )
        for event in call:
            if event.denoise_progress.step in steps:
                kill_the_denoiser()

    with pytest.raises(grpc.RpcError) as raised:
        kill_at_steps(2, 10)  # the rest of the 100 steps takes longer than a kill
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    details = details_of(raised.value)
    assert details[ErrorInfo].reason == "STAGE_DIED"
    assert details[RetryInfo].retry_delay.ToTimedelta().total_seconds() > 0
    assert ray_server.generate(model=BASE, num_inference_steps=4).of("image")


@pytest.mark.parametrize("deployment", ["TextEncoder", "Vae"])
def test_a_dead_encoder_or_decoder_is_replaced(ray_server: RunningServer, deployment: str) -> None:
    bill = ray_server.generate(model=BASE, num_inference_steps=1).summary.bill
    replicas = {
        "TextEncoder": bill.text_encoder_replica,
        "Vae": bill.images[0].image_decoder_replica,
    }
    before = replicas[deployment]
    process = replica_process(deployment, before.split("#")[0])
    assert process is not None
    process.kill()
    eventually(lambda: not process.is_running())
    after = ray_server.generate(model=BASE, num_inference_steps=1, prompt=f"after {before}")
    now = after.summary.bill
    replica = {
        "TextEncoder": now.text_encoder_replica,
        "Vae": now.images[0].image_decoder_replica,
    }[deployment]
    assert replica != before
