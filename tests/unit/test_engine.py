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
    steps_of,
    submitted,
)

from leyden_server.denoiser.service import DenoiseService
from leyden_server.model_repository import ResolvedModel
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
