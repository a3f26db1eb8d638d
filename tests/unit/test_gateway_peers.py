"""Two Gateways: a generation is watched, joined and cancelled at either of them."""

from collections.abc import AsyncIterator

import grpc
import pytest
from support.gateways import (
    Owners,
    cancel,
    generate,
    held,
    kinds,
    let,
    read,
    read_until,
    reason,
    refusal,
    until,
    watch,
)
from support.house import House, house

from leyden.v1 import image_generation_service_pb2 as pb


@pytest.fixture
def owners() -> Owners:
    return Owners()


@pytest.fixture
async def here(owners: Owners) -> AsyncIterator[House]:
    async with house(denoiser=held(), join=owners.join, replicas=2) as home:
        yield home


@pytest.fixture
async def there(owners: Owners) -> AsyncIterator[House]:
    async with house(denoiser=held(), join=owners.join, replicas=2) as home:
        yield home


async def test_it_is_watched_at_the_other_gateway(here: House, there: House) -> None:
    call = generate(here, 60, preview=pb.PreviewOptions())
    begun = await read_until(call, "text_encoded")
    let(here, 2)
    begun += [await call.read() for _ in range(2)]
    watching = watch(there, after=1)
    first = await watching.read()
    assert (first.event_index, first.denoise_progress.step) == (2, 1)
    let(here)
    whole = begun + await read(call)
    rest = [first, *await read(watching)]
    assert [e.event_index for e in rest] == [e.event_index for e in whole[2:]]
    assert rest[2:] == whole[4:]
    assert not there.denoiser.running, "it runs once, where it began"


async def test_it_is_joined_at_the_other_gateway(here: House, there: House) -> None:
    call = generate(here, 60, seed=3)
    await read_until(call, "text_encoded")
    joined = generate(there, 60, seed=3)
    await read_until(joined, "text_encoded")
    error = await refusal(generate(there, 60, seed=4))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason(error) == "REQUEST_ID_IN_USE"
    let(here)
    assert (await read(joined))[-2:] == (await read(call))[-2:]
    await until(lambda: not there.denoiser.running)
    assert [r.code for r in there.records.records] == [], "it is not counted twice"
    assert there.generations.names == ()


async def test_it_is_cancelled_at_the_other_gateway(here: House, there: House) -> None:
    call = generate(here, 60)
    await read_until(call, "text_encoded")
    await cancel(there)
    assert reason(await refusal(call)) == "CANCELLED_BY_REQUEST"
    await until(lambda: not here.denoiser.running)


async def test_leaving_the_other_gateway_is_leaving(here: House, there: House) -> None:
    call = generate(here)
    await read_until(call, "text_encoded")
    joined = generate(there)
    await read_until(joined, "text_encoded")
    call.cancel()
    await until(lambda: len(here.generations._homes.by_name["mine"].callers) == 1)
    assert here.denoiser.running
    joined.cancel()
    await until(lambda: not here.denoiser.running)
    assert here.generations.names == there.generations.names == ()


async def test_nobody_knows_it_at_either(here: House, there: House) -> None:
    for home in (here, there):
        assert reason(await refusal(watch(home))) == "GENERATION_NOT_FOUND"


async def test_a_gateway_that_died_takes_its_generations_along(
    here: House, there: House, owners: Owners
) -> None:
    call = generate(here, 60)
    await read_until(call, "text_encoded")
    watching = watch(there)
    await read_until(watching, "text_encoded")
    await here.server.server.stop(None)
    error = await refusal(watching)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.trailing_metadata() is None or not dict(error.trailing_metadata())
    # Its name is still in the directory, but nobody answers there.
    assert owners.owners
    error = await refusal(watch(there))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert reason(error) == "GENERATION_NOT_FOUND"
    error = await refusal(
        there.images.CancelGeneration(pb.CancelGenerationRequest(request_id="mine"))
    )
    assert reason(error) == "GENERATION_NOT_FOUND"
    # Once the directory knows, the name is free.
    owners.owners.clear()
    let(there)
    assert kinds(await read(generate(there, 60)))[-1] == "summary"


async def test_a_request_asks_the_directory_once(here: House, owners: Owners) -> None:
    let(here)
    await read(generate(here))
    assert owners.claims == 1


async def test_a_name_that_the_gateway_draws_is_found_without_a_claim(
    here: House, there: House, owners: Owners
) -> None:
    call = generate(here, request_id="")
    begun = await read_until(call, "text_encoded")
    watching = watch(there, request_id=begun[0].request_id)
    await read_until(watching, "text_encoded")
    let(here)
    assert (await read(watching))[-2:] == (await read(call))[-2:]
    assert owners.claims == 0


async def test_a_request_that_is_refused_leaves_its_name_to_nobody(owners: Owners) -> None:
    async with house(
        denoiser=held(),
        join=owners.join,
        replicas=2,
        max_waiting_images=1,
        max_open_images=1,
        max_image_count=1,
    ) as home:
        call = generate(home, request_id="first")
        await read_until(call, "text_encoded")
        error = await refusal(generate(home, request_id="second"))
        assert reason(error) == "QUEUE_FULL"
        await until(lambda: list(owners.owners) == ["first"])
        let(home)
        await read(call)
        await until(lambda: not owners.owners)
