"""Leaving early: cancelled, stopped, hanging. Real UNet, gated runs."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from support.patience import PATIENCE_S
from support.stages import (
    Gate,
    batch_rows,
    events_of,
    latents_of,
    load_denoiser,
    plain_request,
    random_prompt,
    sampled,
    submitted,
)

from leyden_server.denoiser.service import DenoiseService
from leyden_server.errors import UnavailableError
from leyden_server.model_repository import ResolvedModel
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import DenoiseRequest, StepDone


async def test_a_cancelled_image_frees_its_row_at_the_next_step(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    leaving = await submitted(service, sampled(request_, num_inference_steps=50))
    staying = await submitted(service, sampled(request_, num_inference_steps=6, seed=1))
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
    assert (await service.stats()).unet_rows == sum(gate.rows)
    assert (await service.stats()).aborted == 1
    assert (await service.stats()).retired == 1
    assert ((await service.stats()).running, (await service.stats()).waiting) == (0, 0)


async def test_what_leaving_saved_is_counted_once_and_told_once(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    leaving = await submitted(service, sampled(request_, num_inference_steps=50))
    gate.let(2)
    await gate.arrival(3)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    asked = asyncio.create_task(service.tally())
    await asyncio.sleep(0)
    assert not asked.done()  # the image leaves once the run that is at the gate has ended
    gate.open()

    tally = await asked
    assert tally is not None
    ran = (await service.stats()).unet_rows
    assert ran == sum(gate.rows) == 3
    assert (tally.images_left, tally.rows_saved) == (1, 50 - ran)
    assert await service.tally() is None


async def test_each_run_is_told_with_one_answer_whoever_of_its_images_gets_that(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    gate.open()
    images = [sampled(request_, seed=seed) for seed in range(3)]
    answers = await asyncio.gather(*(events_of(service, image) for image in images))

    steps = [event for events in answers for event in events if isinstance(event, StepDone)]
    runs = [run for step in steps if step.tally is not None for run in step.tally.runs]
    assert sorted(run.rows for run in runs) == sorted(gate.rows)
    assert all(run.padded_rows == 0 and run.duration_s > 0 for run in runs)  # on a CPU


async def test_leaving_the_iterator_stops_the_rows(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    events = service.denoise(sampled(request_, num_inference_steps=50))
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
    assert (await service.stats()).unet_rows == 3 + 4


async def test_a_waiting_image_that_leaves_never_costs_a_row(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    running = await submitted(service, request_)
    await gate.arrival(1)
    waiting = await submitted(service, sampled(request_, seed=1))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open()

    assert batch_rows(await running) == [1, 1, 1, 1]
    assert (await service.stats()).aborted == 1


@pytest.mark.parametrize("deadline_in_s", [-1.0, 0.0, 3600.0])
async def test_a_deadline_orders_and_ends_nothing(
    service: DenoiseService, request_: DenoiseRequest, deadline_in_s: float
) -> None:
    alone = await events_of(service, request_)
    timed = replace(request_, order=TravellingOrder(deadline_in_s=deadline_in_s))

    assert np.array_equal(latents_of(alone), latents_of(await events_of(service, timed)))


def wait_until_stopping(service: DenoiseService) -> None:
    engine = service._engine
    with engine._changed:
        assert engine._changed.wait_for(lambda: engine._stopping, PATIENCE_S)


async def test_stopping_fails_what_is_left_and_what_comes_later(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    running = await submitted(service, sampled(request_, num_inference_steps=50))
    await gate.arrival(1)
    waiting = await submitted(service, sampled(request_, width_px=96))
    stopping = asyncio.ensure_future(asyncio.to_thread(service.stop))
    await asyncio.to_thread(wait_until_stopping, service)
    gate.open()
    await stopping
    for task in (running, waiting):
        with pytest.raises(UnavailableError) as caught:
            await task
        assert caught.value.reason == "STAGE_STOPPING"
    with pytest.raises(UnavailableError):
        await events_of(service, request_)

    assert gate.rows == [1]
    with pytest.raises(RuntimeError, match="loop has ended"):
        service.check_health()


async def test_what_ends_the_loop_is_logged(
    random_model: ResolvedModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = load_denoiser(random_model)

    def schedule(now_s: float) -> None:
        raise RuntimeError("no batch of this kind")

    monkeypatch.setattr(service._engine._scheduler, "schedule", schedule)
    with pytest.raises(UnavailableError):
        await events_of(service, plain_request(random_model, random_prompt(service)))
    with pytest.raises(RuntimeError, match="no batch of this kind"):
        service.stop()
    assert "the denoise loop has ended" in caplog.text
    assert "RuntimeError: no batch of this kind" in caplog.text


async def test_a_step_that_hangs_is_seen(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    assert service._engine.stalled_s() == 0
    task = await submitted(service, request_)
    await gate.arrival(1)
    before = service._engine.stalled_s()
    service.check_health()
    assert 0 < before < service._engine.stalled_s()
    with pytest.raises(RuntimeError, match="denoise step"):
        service._engine.check_health(stall_timeout_s=0)
    gate.open()
    await task
    assert service._engine.stalled_s() == 0
