"""Who shares a step with whom, and what is reported. Real UNet, gated runs."""

import asyncio
from dataclasses import replace

import pytest
from support.stages import (
    Gate,
    batch_rows,
    events_of,
    latents_of,
    load_denoiser,
    plain_request,
    random_prompt,
    sampled,
    steps_of,
    submitted,
)

from leyden_server.denoiser.load import RunningMean
from leyden_server.denoiser.service import DenoiseService
from leyden_server.model_repository import ResolvedModel
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import (
    Denoised,
    DenoiseRequest,
    DenoiseStarted,
    EngineStats,
    StepDone,
)


async def test_a_loop_reports_its_start_each_step_and_its_latents(
    service: DenoiseService, request_: DenoiseRequest
) -> None:
    events = await events_of(service, request_)

    assert isinstance(events[0], DenoiseStarted)
    assert events[0].replica == "denoiser#1"
    assert [step.step for step in steps_of(events)] == [1, 2, 3, 4]
    assert [step.timestep for step in steps_of(events)] == [999, 749, 499, 249]
    assert steps_of(events)[0].sigma == pytest.approx(14.6146, abs=1e-3)
    assert all(step.duration_s > 0 and step.preview is None for step in steps_of(events))
    assert isinstance(events[-1], Denoised)
    assert latents_of(events).shape == (4, 8, 8)
    assert len(events) == 6
    assert await service.stats() == EngineStats(4, 4, retired=1, aborted=0, running=0, waiting=0)


async def test_a_request_joins_a_running_one_at_the_next_step(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    first = await submitted(service, request_)
    await gate.arrival(1)
    second = await submitted(service, sampled(request_, seed=1))
    gate.open()

    assert batch_rows(await first) == [1, 2, 2, 2]
    assert batch_rows(await second) == [2, 2, 2, 1]
    assert gate.rows == [1, 2, 2, 2, 1]
    assert (await service.stats()).unet_rows == 8
    assert (await service.stats()).unet_batches == 5


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
        tasks += [await submitted(service, sampled(request, seed=seed)) for seed in (1, 2)]
        assert (await service.stats()).running == 1
        assert (await service.stats()).waiting == 2
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
        await submitted(service, sampled(request_, width_px=width, height_px=height))
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
    guided = await submitted(service, sampled(request_, guidance_scale=1.5))
    unguided = await submitted(service, sampled(request_, guidance_scale=1.0))
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
    assert isinstance(await started, DenoiseStarted)
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


async def test_the_latents_come_with_the_last_step(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    gate.open()
    parts = service.denoise_together(request_)
    kinds = [[type(event) for event in events] async for events in parts]
    assert kinds == [[DenoiseStarted], *[[StepDone]] * 3, [StepDone, Denoised]]


async def test_each_step_tells_what_the_engine_has_left(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    first = await submitted(service, request_)
    await gate.arrival(1)
    guided = sampled(request_, guidance_scale=2.0, num_inference_steps=3)
    second = await submitted(service, replace(guided, order=TravellingOrder(priority=2)))
    wide = sampled(request_, width_px=96)
    third = await submitted(service, replace(wide, order=TravellingOrder(9, waited_s=70.0)))
    gate.open()
    steps = steps_of(await first)

    assert [step.load.row_steps for step in steps[:2]] == [
        (0, 2 * 3, 0, 0, 3, 0, 0, 4, 0),  # the third has risen from 9 to 8
        (0, 2 * 2, 0, 0, 2, 0, 0, 4, 0),
    ]
    assert steps[0].load.waiting_images == (0, 1, 0, 0, 0, 0, 0, 1, 0)
    assert steps[1].load.waiting_images == (0, 0, 0, 0, 0, 0, 0, 1, 0)
    assert all(step.load.row_cap == 8 for step in steps)
    (started, *_, last, _) = await third
    await second
    assert isinstance(started, DenoiseStarted)
    assert started.load.waiting_images == (0,) * 9
    assert sum(started.load.row_steps) == 4
    assert isinstance(last, StepDone)
    assert last.load.row_steps == (0,) * 9
    assert last.load.step_s > 0


def test_the_mean_of_the_steps_follows_the_newest() -> None:
    mean = RunningMean()
    assert mean.value == 0
    for value in (1.0, 2.0, 3.0):
        mean.add(value)
    assert mean.value == pytest.approx(2.0)
    for _ in range(60):
        mean.add(10.0)
    assert mean.value == pytest.approx(10.0, rel=0.01)
