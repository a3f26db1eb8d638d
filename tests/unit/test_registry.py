"""Generations that live on: joined, watched, left, cancelled, kept, forgotten; over real gRPC."""

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from support.gateways import (
    cancel,
    generate,
    held,
    kinds,
    let,
    read,
    read_until,
    reason,
    refusal,
    request,
    until,
    watch,
)
from support.house import StubTextEncoder, StubVae, house
from support.patience import PATIENCE_S
from support.running_server import details_of

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.errors import UnavailableError


async def test_a_whole_generation_in_order() -> None:
    async with house() as home:
        events = await read(generate(home, seed=7))
        steps = ["denoise_progress"] * 4
        assert kinds(events) == ["queued", "text_encoded", *steps, "image", "summary"]
        assert [event.event_index for event in events] == list(range(8))
        assert {event.request_id for event in events} == {"mine"}
        assert (events[-2].image.seed, events[-2].image.data) == (7, bytes([7]) * 100)
        (record,) = home.records.records
        assert (record.code, record.images_sent, record.unet_rows) == ("OK", 1, 4)


async def test_a_watcher_has_the_same_events_with_the_same_bytes() -> None:
    async with house(denoiser=held()) as home:
        first = generate(home, 60, preview=pb.PreviewOptions())
        begun = await read_until(first, "text_encoded")
        let(home, 2)
        begun += [await first.read() for _ in range(2)]
        second, late = watch(home), watch(home, after=begun[-1].event_index)
        caught_up = [await second.read() for _ in range(4)]
        let(home)
        whole = begun + await read(first)
        watched = caught_up + await read(second)
        tail = await read(late)
        assert kinds(watched) == kinds(whole)
        for ours, theirs in zip(watched[:4], whole[:4], strict=True):
            if theirs.HasField("denoise_progress"):
                theirs.denoise_progress.ClearField("preview")
            assert ours.SerializeToString() == theirs.SerializeToString()
        assert watched[4:] == whole[4:] == tail
        again = await read(watch(home))
        assert [e.denoise_progress.HasField("preview") for e in again] == [False] * len(again)
        assert [e.event_index for e in again] == list(range(len(again)))


async def test_watching_beyond_the_newest_waits_for_the_next() -> None:
    async with house(denoiser=held()) as home:
        first = generate(home, 60)
        await read_until(first, "text_encoded")
        beyond = watch(home, after=10**6)
        await until(lambda: len(home.generations._homes.by_name["mine"].callers) == 2)
        let(home)
        assert kinds(await read(beyond)) == ["denoise_progress"] * 4 + ["image", "summary"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (pb.WatchGenerationRequest(request_id="mine", after_event_index=-1), "after_event_index"),
        (pb.WatchGenerationRequest(request_id="no spaces"), "request_id"),
        (pb.WatchGenerationRequest(), "request_id"),
    ],
)
async def test_a_wrong_watch_names_its_field(asked: Any, field: str) -> None:
    async with house() as home:
        error = await refusal(home.images.WatchGeneration(asked, timeout=PATIENCE_S))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        (violation,) = details_of(error)[BadRequest].field_violations
        assert violation.field == field


async def test_what_nobody_knows_is_not_found() -> None:
    async with house() as home:
        for call in (
            watch(home),
            home.images.CancelGeneration(pb.CancelGenerationRequest(request_id="mine")),
        ):
            error = await refusal(call)
            assert error.code() is grpc.StatusCode.NOT_FOUND
            assert reason(error) == "GENERATION_NOT_FOUND"


async def test_without_linger_leaving_ends_it_and_frees_its_name() -> None:
    async with house(denoiser=held()) as home:
        call = generate(home)
        await read_until(call, "text_encoded")
        await until(lambda: home.denoiser.running)
        call.cancel()
        await until(lambda: not home.denoiser.running)
        assert (await refusal(watch(home))).code() is grpc.StatusCode.NOT_FOUND
        (record,) = home.records.records
        assert (record.code, record.request_id) == ("CANCELLED", "mine")
        let(home)
        assert kinds(await read(generate(home, prompt="another")))[-1] == "summary"


@pytest.mark.parametrize("turn", range(20))
async def test_its_name_is_free_right_after_a_cancel(turn: int) -> None:
    async with house(denoiser=held()) as home:
        call = generate(home, prompt=f"first {turn}")
        await read_until(call, "text_encoded")
        call.cancel()
        let(home)
        assert kinds(await read(generate(home, prompt="other")))[-1] == "summary"


async def test_its_name_is_free_right_after_a_deadline() -> None:
    async with house(denoiser=held()) as home:
        call = home.images.GenerateImage(request(prompt="first"), timeout=0.3)
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        let(home)
        assert kinds(await read(generate(home, prompt="other")))[-1] == "summary"
        assert {r.code for r in home.records.records} == {"DEADLINE_EXCEEDED", "OK"}


async def test_with_another_watcher_leaving_ends_nothing() -> None:
    async with house(denoiser=held()) as home:
        call = generate(home)
        await read_until(call, "text_encoded")
        other = watch(home)
        await read_until(other, "text_encoded")
        call.cancel()
        await until(lambda: len(home.generations._homes.by_name["mine"].callers) == 1)
        let(home)
        assert kinds(await read(other))[-1] == "summary"


async def test_what_lingers_goes_on_alone_and_is_kept() -> None:
    async with house(denoiser=held()) as home:
        call = generate(home, 60)
        await read_until(call, "text_encoded")
        call.cancel()
        await until(lambda: not home.generations._homes.by_name["mine"].callers)
        let(home)
        await until(lambda: home.records.records)
        assert home.records.records[0].code == "OK"
        assert kinds(await read(watch(home)))[-2:] == ["image", "summary"]


async def test_a_deadline_ends_the_watching_alone_where_it_lingers() -> None:
    async with house(denoiser=held()) as home:
        call = home.images.GenerateImage(request(60), timeout=0.3)
        assert (await refusal(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        (running,) = home.denoiser.running
        assert running.order.deadline_in_s is None, "it decides no order either"
        let(home)
        assert kinds(await read(watch(home)))[-1] == "summary"


async def test_what_nobody_watches_is_ended_when_its_time_is_over() -> None:
    async with house(denoiser=held()) as home:
        call = generate(home, 0.2)
        await read_until(call, "text_encoded")
        call.cancel()
        await until(lambda: not home.denoiser.running)
        (record,) = home.records.records
        assert (record.code, record.reason) == ("CANCELLED", "NOBODY_WATCHED")
        assert (await refusal(watch(home))).code() is grpc.StatusCode.NOT_FOUND


async def test_its_events_are_forgotten_when_their_time_is_over() -> None:
    async with house() as home:
        await read(generate(home, 0.3))
        watching = watch(home)
        assert kinds(await read(watching))[-1] == "summary"
        await until(lambda: not home.generations.names)
        assert (await refusal(watch(home))).code() is grpc.StatusCode.NOT_FOUND


async def test_an_equal_request_joins_and_any_other_is_refused() -> None:
    async with house(denoiser=held()) as home:
        call = generate(home, 60, seed=3)
        await read_until(call, "text_encoded")
        joined = generate(home, 60, seed=3)
        assert (await read_until(joined, "text_encoded"))[0].event_index == 0
        for other in ({"seed": 4}, {"seed": None}, {"seed": 3, "prompt": "y"}):
            error = await refusal(generate(home, 60, **other))
            assert error.code() is grpc.StatusCode.ALREADY_EXISTS
            assert reason(error) == "REQUEST_ID_IN_USE"
        error = await refusal(generate(home, 61, seed=3))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS
        let(home)
        assert (await read(joined))[-2:] == (await read(call))[-2:]
        # Ended well and kept: an equal request is answered from what is kept.
        replayed = await read(generate(home, 60, seed=3))
        assert kinds(replayed)[-1] == "summary"
        assert len(home.records.records) == 5, "one generation, four refusals"


async def test_an_absent_seed_equals_an_absent_seed() -> None:
    async with house() as home:
        seeds = [(await read(generate(home, 60)))[-2].image.seed for _ in range(3)]
        assert len(set(seeds)) == 1


async def test_cancelling_ends_it_for_all_and_frees_its_name() -> None:
    async with house(denoiser=held()) as home:
        call, other = generate(home, 60), None
        await read_until(call, "text_encoded")
        other = watch(home)
        await read_until(other, "text_encoded")
        await cancel(home)
        for one in (call, other):
            error = await refusal(one)
            assert error.code() is grpc.StatusCode.CANCELLED
            assert reason(error) == "CANCELLED_BY_REQUEST"
        await until(lambda: not home.denoiser.running)
        await cancel(home)  # ended and kept: answered just so
        assert reason(await refusal(watch(home))) == "CANCELLED_BY_REQUEST"
        let(home)
        assert kinds(await read(generate(home, 60, prompt="other")))[-1] == "summary"


async def test_a_failure_is_told_to_all_and_frees_the_name() -> None:
    encoder = StubTextEncoder(errors={"x": UnavailableError("STAGE_STALLED", "no answer", 1.0)})
    async with house(text_encoder=encoder) as home:
        for ask in (partial(generate, home, 60), partial(watch, home)):
            error = await refusal(ask())
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert reason(error) == "STAGE_STALLED"
        assert kinds(await read(generate(home, 60, prompt="y")))[-1] == "summary"


async def test_a_defect_is_one_id_for_all_and_has_no_internals() -> None:
    encoder = StubTextEncoder(errors={"x": RuntimeError("secret inner thing")})
    async with house(text_encoder=encoder) as home:
        ids = set()
        for ask in (partial(generate, home, 60), partial(watch, home)):
            error = await refusal(ask())
            assert error.code() is grpc.StatusCode.INTERNAL
            assert "secret" not in error.details()
            ids.add(details_of(error)[ErrorInfo].metadata["error_id"])
        assert ids == set(home.records.defects)


async def test_a_stage_that_died_is_run_again_and_nothing_comes_twice() -> None:
    denoiser = held()
    async with house(denoiser=denoiser) as home:
        call = generate(home)
        await read_until(call, "text_encoded")
        let(home, 2)
        events = [await call.read() for _ in range(2)]
        denoiser.fails_once.append(UnavailableError("STAGE_DIED", "it died", 1.0))
        let(home)
        events += await read(call)
        steps = [e.denoise_progress.step for e in events if e.HasField("denoise_progress")]
        assert steps == [1, 2, 3, 4]
        assert events[-1].summary.retries == 1


async def test_a_prompt_that_fails_takes_the_other_with_it() -> None:
    encoder = StubTextEncoder(held={"x": asyncio.Event(), "blurry": asyncio.Event()})
    encoder.errors["blurry"] = UnavailableError("STAGE_STALLED", "has answered nobody", 1.0)
    async with house(text_encoder=encoder) as home:
        call = generate(home, negative_prompt="blurry", guidance_scale=2)
        await read_until(call, "queued")
        encoder.held["blurry"].set()
        assert reason(await refusal(call)) == "STAGE_STALLED"
        assert sorted(encoder.left) == ["blurry", "x"]


async def test_silence_ends_with_where_it_stands() -> None:
    """While a stage starts, at most so many seconds pass without an event."""
    async with house(denoiser=held(), queued_interval_s=0.1) as home:
        home.text_encoder.held["x"] = asyncio.Event()
        home.text_encoder.start_s = None
        call = generate(home)
        for _ in range(3):
            assert (await call.read()).WhichOneof("event") == "queued"
        home.text_encoder.start_s = 0.0
        home.text_encoder.held["x"].set()
        let(home, 1)
        await read_until(call, "denoise_progress")
        home.denoiser.starts, home.denoiser.start_s = True, 4.0
        assert (await call.read()).queued.expected_wait_duration.seconds == 4
        home.denoiser.starts = False
        let(home)
        assert "queued" not in kinds(await read(call))[1:]


async def test_kept_images_are_dropped_oldest_first() -> None:
    async with house(vae=StubVae(size_bytes=2**20), max_kept_bytes=2 * 2**20) as home:
        for name in ("a", "b", "c"):
            await read(generate(home, 60, request_id=name))
        await until(lambda: not any(h.callers for h in home.generations._homes.by_name.values()))
        error = await refusal(watch(home, "a"))
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        assert reason(error) == "EVENTS_EXPIRED"
        assert kinds(await read(watch(home, "b")))[-1] == "summary"
        assert kinds(await read(watch(home, "c")))[-1] == "summary"


async def test_a_drain_waits_for_who_watches_and_gives_up_the_rest() -> None:
    async with house(denoiser=held(), drain_timeout_s=PATIENCE_S) as home:
        call = generate(home)
        alone = generate(home, 60, request_id="alone")
        for one in (call, alone):
            await read_until(one, "text_encoded")
        alone.cancel()
        await until(lambda: not home.generations._homes.by_name["alone"].callers)
        draining = asyncio.create_task(home.generations.drain(PATIENCE_S))
        await until(lambda: len(home.denoiser.running) == 1)
        error = await refusal(generate(home, request_id="new"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(error) == "DRAINING"
        assert not draining.done()
        let(home)
        assert kinds(await read(call))[-1] == "summary"
        await asyncio.wait_for(draining, PATIENCE_S)


async def test_a_drain_that_runs_out_says_so() -> None:
    async with house(denoiser=held()) as home:
        call = generate(home)
        await read_until(call, "text_encoded")
        await home.generations.drain(0.05)
        assert reason(await refusal(call)) == "DRAINING"
        await until(lambda: not home.denoiser.running)


async def test_a_drain_knows_a_request_whose_stages_are_still_woken() -> None:
    async with house() as home:
        home.denoiser.waking = asyncio.Event()
        call = generate(home)
        first = asyncio.ensure_future(call.read())
        await asyncio.wait_for(home.denoiser.waking.wait(), PATIENCE_S)
        await home.generations.drain(0.05)
        with pytest.raises(grpc.aio.AioRpcError, match="shutting down") as raised:
            await first
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_who_leaves_while_stages_are_woken_leaves_nothing_behind() -> None:
    async with house() as home:
        home.denoiser.waking = asyncio.Event()
        call = generate(home)
        await asyncio.wait_for(home.denoiser.waking.wait(), PATIENCE_S)
        call.cancel()
        await until(lambda: not home.generations.names)
        await until(lambda: home.records.records)
        assert home.records.records[0].code == "CANCELLED"


@pytest.mark.parametrize(("linger_s", "field"), [(601, "linger_duration"), (-1, "linger_duration")])
async def test_a_linger_beyond_what_is_allowed_is_refused(linger_s: float, field: str) -> None:
    async with house() as home:
        error = await refusal(generate(home, linger_s))
        (violation,) = details_of(error)[BadRequest].field_violations
        assert (violation.field, "0 to 600 s" in violation.description) == (field, True)


@pytest.mark.parametrize("priority", [-1, 10])
async def test_a_priority_is_from_1_to_9(priority: int) -> None:
    async with house() as home:
        error = await refusal(generate(home, priority=priority))
        (violation,) = details_of(error)[BadRequest].field_violations
        assert (violation.field, "1 (first) to 9" in violation.description) == ("priority", True)
        assert kinds(await read(generate(home, priority=0)))[-1] == "summary"


async def test_priority_travels_with_each_image() -> None:
    async with house(denoiser=held()) as home:
        calls = [generate(home, request_id=f"p{p}", priority=p) for p in (9, 1)]
        for call in calls:
            await read_until(call, "text_encoded")
        await until(lambda: len(home.denoiser.running) == 2)
        assert sorted(r.order.priority for r in home.denoiser.running) == [1, 9]
        let(home)
        for call in calls:
            await read(call)
