"""Steps that fail: who is told, who goes on, and what of an image they leave. Real UNet."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.stages import (
    Gate,
    batch_rows,
    events_of,
    latents_of,
    sampled,
    submitted,
)

from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.denoiser.service import DenoiseService
from leyden_server.errors import OutOfMemoryError, StageFailedError
from leyden_server.stages.contract import DenoiseRequest

LATENTS_TOLERANCE = 2e-3
"""As in test_engine_images: other batch sizes sum in another order."""


@pytest.mark.parametrize("solver", ["euler", "euler_ancestral", "dpmpp_2m_sde"])
@pytest.mark.parametrize("fails_at", ["the UNet", "the end of the step"])
async def test_after_a_failed_step_its_images_go_on_as_if_nothing_had_been(
    service: DenoiseService,
    gate: Gate,
    request_: DenoiseRequest,
    monkeypatch: pytest.MonkeyPatch,
    solver: str,
    fails_at: str,
) -> None:
    requests = [sampled(request_, seed=seed, solver=solver) for seed in (0, 1)]
    first = await submitted(service, requests[0])
    await gate.arrival(1)
    second = await submitted(service, requests[1])
    gate.let()
    await gate.arrival(2)
    failure = RuntimeError("a kernel failed")
    if fails_at == "the UNet":
        gate.fail_once(failure)
    else:
        # A GPU tells of a kernel's failure only when it is waited for; noise is drawn by then.
        failures, synchronize = [failure], service._runner.synchronize

        def fail_once() -> None:
            synchronize()
            if failures:
                raise failures.pop()

        monkeypatch.setattr(service._runner, "synchronize", fail_once)
    gate.open()
    together = [await first, await second]

    assert [batch_rows(events) for events in together] == [[1, 1, 2, 2], [1, 2, 2, 1]]
    assert gate.rows == [1, 2, 1, 1, 2, 2, 1]
    stats = await service.stats()
    assert (stats.retired, stats.aborted, stats.unet_rows) == (2, 0, 8)
    service.check_health()
    for request, events in zip(requests, together, strict=True):
        undisturbed = latents_of(await events_of(service, request))
        assert np.abs(latents_of(events) - undisturbed).max() < LATENTS_TOLERANCE


async def test_an_image_that_fails_alone_fails_nobody_else(
    service: DenoiseService, request_: DenoiseRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = service._runner.run

    def run_finite(batch: InputBatch) -> torch.Tensor:
        if batch.text_embeds.isnan().any():
            raise RuntimeError("not a number\nand what it takes a page to say")
        return run(batch)

    monkeypatch.setattr(service._runner, "run", run_finite)
    nan = np.full_like(request_.prompt.pooled_prompt_embeds, np.nan)
    bad = replace(request_, prompt=replace(request_.prompt, pooled_prompt_embeds=nan))
    requests = [request_, bad, sampled(request_, seed=1)]
    results = await asyncio.gather(
        *(events_of(service, request) for request in requests), return_exceptions=True
    )

    good, failed, beside = results
    assert isinstance(failed, StageFailedError)
    assert (failed.stage, failed.text) == ("denoiser", "RuntimeError: not a number")
    for events in (good, beside):
        assert isinstance(events, list)
        assert len(events) == 6
    stats = await service.stats()
    assert (stats.retired, stats.aborted) == (2, 1)
    assert (stats.running, stats.waiting) == (0, 0)
    service.check_health()


async def test_the_log_has_the_failure_by_its_id(
    service: DenoiseService,
    gate: Gate,
    request_: DenoiseRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate.open()
    gate.fail_once(RuntimeError("a kernel failed"))
    with pytest.raises(StageFailedError) as caught:
        await events_of(service, request_)

    told = caught.value
    assert told.__cause__ is None
    assert told.__context__ is None
    (record,) = [one for one in caplog.records if told.error_id in one.getMessage()]
    assert "Traceback (most recent call last)" in record.getMessage()
    assert "RuntimeError: a kernel failed" in record.getMessage()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
    ids=["cuda", "cpu", "driver"],
)
async def test_an_image_without_room_alone_is_told_so_and_the_engine_is_healthy(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest, error: Exception
) -> None:
    gate.open()
    for _ in range(4):
        gate.fail_once(error)
        with pytest.raises(OutOfMemoryError) as caught:
            await events_of(service, request_)
        assert caught.value.stage == "denoiser"
    service.check_health()
    assert len(await events_of(service, request_)) == 6


async def test_a_batch_without_room_goes_on_as_smaller_ones(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    first = await submitted(service, request_)
    await gate.arrival(1)
    second = await submitted(service, sampled(request_, seed=1))
    gate.let()
    await gate.arrival(2)
    gate.fail_once(torch.OutOfMemoryError("CUDA out of memory"))
    gate.open()

    assert batch_rows(await first) == [1, 1, 1, 1]
    assert batch_rows(await second) == [1, 1, 1, 1]
    assert gate.rows == [1, 2, *[1] * 7]
    assert (await service.ready()).batch_row_caps == {64: 1}


async def test_an_image_that_leaves_is_not_run_alone(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    first = await submitted(service, request_)
    await gate.arrival(1)
    second = await submitted(service, sampled(request_, seed=1))
    gate.let()
    await gate.arrival(2)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.fail_once(RuntimeError("a kernel failed"))
    gate.open()

    assert batch_rows(await first) == [1, 1, 1, 1]
    assert gate.rows == [1, 2, 1, 1, 1]


async def test_an_engine_that_only_fails_is_unhealthy_until_it_works_again(
    service: DenoiseService, gate: Gate, request_: DenoiseRequest
) -> None:
    gate.open()
    for failures in (1, 2, 3):
        service.check_health()
        gate.fail_once(RuntimeError("cuBLAS failed"))
        with pytest.raises(StageFailedError):
            await events_of(service, request_)
        assert (await service.stats()).aborted == failures
    with pytest.raises(RuntimeError, match="the last 3 runs of the model have failed"):
        service.check_health()
    await events_of(service, request_)
    service.check_health()
