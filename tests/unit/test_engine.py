"""What the engine does with whom: joining, sharing, leaving, failing. Real UNet, gated runs."""

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest
from leyden_server.denoiser.service import DenoiseService
from leyden_server.errors import DeadlineExceededError, UnavailableError
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.messages import (
    Denoised,
    DenoiseRequest,
    DenoiseStarted,
    EngineStats,
    StepDone,
)
from support.stages import (
    Gate,
    events_of,
    latents_of,
    load_denoiser,
    plain_request,
    random_prompt,
    steps_of,
)


@pytest.fixture
def request_(service: DenoiseService, random_model: ResolvedModel) -> DenoiseRequest:
    return plain_request(random_model, random_prompt(service))


async def submitted(service: DenoiseService, request: DenoiseRequest) -> "asyncio.Task[list[object]]":
    """Start a request and return once the engine has it."""
    known = service.stats().waiting + service.stats().running
    task = asyncio.ensure_future(events_of(service, request))
    await asyncio.sleep(0)  # one turn of the loop: the task runs up to its first wait
    assert service.stats().waiting + service.stats().running == known + 1
    return task


def batch_rows(events: list[object]) -> list[int]:
    return [event.batch_rows for event in events if isinstance(event, StepDone)]


async def test_a_loop_reports_its_start_each_step_and_its_latents(
    service: DenoiseService, request_: DenoiseRequest
) -> None:
    events = await events_of(service, request_)

    assert events[0] == DenoiseStarted("denoiser#1")
    assert [step.step for step in steps_of(events)] == [1, 2, 3, 4]
    assert [step.timestep for step in steps_of(events)] == [999, 749, 499, 249]
    assert steps_of(events)[0].sigma == pytest.approx(14.6146, abs=1e-3)
    assert all(step.duration_s > 0 and step.preview is None for step in steps_of(events))
    assert isinstance(events[-1], Denoised)
    assert latents_of(events).shape == (4, 8, 8)
    assert len(events) == 6
    assert service.stats() == EngineStats(4, 4, retired=1, aborted=0, running=0, waiting=0)


async def test_a_request_joins_a_running_one_at_the_next_step(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    first = await submitted(service, request_)
    await gate.arrival(1)
    second = await submitted(service, replace(request_, seed=1))
    gate.open()

    assert batch_rows(await first) == [1, 2, 2, 2]
    assert batch_rows(await second) == [2, 2, 2, 1]
    assert gate.rows == [1, 2, 2, 2, 1]
    assert service.stats().unet_rows == 8
    assert service.stats().unet_batches == 5


async def test_the_batch_stops_at_the_cap_and_the_next_follows_when_one_leaves(
    random_model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = load_denoiser(random_model, row_cap=2)
    gate = Gate(service._runner.run)
    monkeypatch.setattr(service._runner, "run", gate)
    request = plain_request(random_model, random_prompt(service))
    try:
        tasks = [await submitted(service, request)]
        await gate.arrival(1)
        tasks += [await submitted(service, replace(request, seed=seed)) for seed in (1, 2)]
        assert service.stats().running == 1
        assert service.stats().waiting == 2
        gate.open()
        events = await asyncio.gather(*tasks)
    finally:
        gate.open()
        service.stop()

    assert [batch_rows(one) for one in events] == [[1, 2, 2, 2], [2, 2, 2, 2], [2, 1, 1, 1]]


async def test_different_shapes_never_share_a_step(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    sizes = [(64, 64), (96, 64), (64, 96)]
    tasks = [
        await submitted(service, replace(request_, width_px=width, height_px=height))
        for width, height in sizes
    ]
    gate.open()
    events = await asyncio.gather(*tasks)

    assert [batch_rows(one) for one in events] == [[1] * 4] * 3
    shapes = [latents_of(steps_and_end).shape for steps_and_end in events]
    assert shapes == [(4, height // 8, width // 8) for width, height in sizes]


async def test_guidance_is_two_rows_of_one_image(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    first = await submitted(service, request_)
    await gate.arrival(1)
    guided = await submitted(service, replace(request_, guidance_scale=1.5))
    unguided = await submitted(service, replace(request_, guidance_scale=1.0))
    gate.open()

    assert batch_rows(await first) == [1, 4, 4, 4]
    assert batch_rows(await guided) == [4, 4, 4, 3]
    assert batch_rows(await unguided) == [4, 4, 4, 3]


async def test_progress_arrives_while_the_loop_still_runs(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    events = service.denoise(request_)
    started = asyncio.ensure_future(anext(events))
    await gate.arrival(1)
    assert await started == DenoiseStarted("denoiser#1")
    for number in (1, 2, 3):
        gate.let()
        step = await anext(events)
        assert isinstance(step, StepDone)
        assert step.step == number
        await gate.arrival(number + 1)
        assert len(gate.rows) == number + 1  # the next step waits at the gate: it has not run
    gate.open()
    rest = [event async for event in events]
    assert [type(event) for event in rest] == [StepDone, Denoised]


async def test_a_cancelled_image_frees_its_row_at_the_next_step(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    leaving = await submitted(service, replace(request_, num_inference_steps=50))
    staying = await submitted(service, replace(request_, num_inference_steps=6, seed=1))
    gate.let()
    await gate.arrival(2)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.open()
    steps = batch_rows(await staying)

    # The first run may have started before the second image came; the run that was at the
    # gate when the first image left is the last that has its row.
    assert steps[-4:] == [1, 1, 1, 1]
    assert gate.rows.count(2) <= 2
    assert service.stats().unet_rows == sum(gate.rows)
    assert service.stats().aborted == 1
    assert service.stats().retired == 1
    assert (service.stats().running, service.stats().waiting) == (0, 0)


async def test_leaving_the_iterator_stops_the_rows(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    events = service.denoise(replace(request_, num_inference_steps=50))
    gate.let(2)
    async for event in events:
        if isinstance(event, StepDone) and event.step == 2:
            break
    await gate.arrival(3)
    await events.aclose()
    gate.open()
    after = await events_of(service, request_)

    assert len(after) == 6
    assert len(gate.rows) == 3 + 4
    assert service.stats().unet_rows == 3 + 4


async def test_a_waiting_image_that_leaves_never_costs_a_row(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    running = await submitted(service, request_)
    await gate.arrival(1)
    waiting = await submitted(service, replace(request_, seed=1))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open()

    assert batch_rows(await running) == [1, 1, 1, 1]
    assert service.stats().aborted == 1


async def test_a_deadline_ends_the_loop_at_the_next_step(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    late = await submitted(service, replace(request_, num_inference_steps=50, timeout_s=0.2))
    await gate.arrival(1)
    (image,) = service._engine._scheduler.images()
    assert image.deadline_s is not None
    while time.monotonic() < image.deadline_s:
        await asyncio.sleep(image.deadline_s - time.monotonic())
    gate.open()
    with pytest.raises(DeadlineExceededError):
        await late

    assert gate.rows == [1]
    assert service.stats() == EngineStats(1, 1, retired=0, aborted=1, running=0, waiting=0)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
async def test_a_deadline_that_has_passed_costs_no_row(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest, timeout_s: float
) -> None:
    with pytest.raises(DeadlineExceededError):
        await events_of(service, replace(request_, timeout_s=timeout_s))
    assert gate.rows == []


async def test_a_deadline_that_is_far_changes_nothing(
    service: DenoiseService, request_: DenoiseRequest
) -> None:
    alone = await events_of(service, request_)
    timed = await events_of(service, replace(request_, timeout_s=3600.0))

    assert np.array_equal(latents_of(alone), latents_of(timed))


async def test_a_failing_run_ends_its_images_and_the_engine_goes_on(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    alone = await submitted(service, request_)
    await gate.arrival(1)
    beside = await submitted(service, replace(request_, seed=1))
    elsewhere = await submitted(service, replace(request_, width_px=96))
    gate.let()
    await gate.arrival(2)
    gate.fail_once(RuntimeError("out of memory"))
    gate.open()
    for task in (alone, beside):
        with pytest.raises(RuntimeError, match="out of memory"):
            await task

    assert len(batch_rows(await elsewhere)) == 4
    assert len(await events_of(service, request_)) == 6
    service.check_health(stall_timeout_s=60)
    assert service.stats().aborted == 2
    assert service.stats().retired == 2


async def test_stopping_fails_what_is_left_and_what_comes_later(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    running = await submitted(service, replace(request_, num_inference_steps=50))
    await gate.arrival(1)
    waiting = await submitted(service, replace(request_, width_px=96))
    stopping = asyncio.ensure_future(asyncio.to_thread(service.stop))
    while not service._engine._stopping:
        await asyncio.sleep(0)
    gate.open()
    await stopping
    for task in (running, waiting):
        with pytest.raises(UnavailableError) as caught:
            await task
        assert caught.value.reason == "STAGE_STOPPING"
    with pytest.raises(UnavailableError):
        await events_of(service, request_)

    assert gate.rows == [1]
    with pytest.raises(RuntimeError, match="thread has died"):
        service.check_health(stall_timeout_s=60)


async def test_a_step_that_hangs_is_seen(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    assert service._engine.stalled_s() == 0
    task = await submitted(service, request_)
    await gate.arrival(1)
    before = service._engine.stalled_s()
    service.check_health(stall_timeout_s=60)
    assert 0 < before < service._engine.stalled_s()
    with pytest.raises(RuntimeError, match="denoise step"):
        service.check_health(stall_timeout_s=0)
    gate.open()
    await task
    assert service._engine.stalled_s() == 0
