"""Events that many read, from any index, at any pace, within bounded memory."""

import asyncio

import pytest

from leyden_server.errors import EventsExpiredError, UnavailableError
from leyden_server.generations.event_log import MAX_UNREAD_PREVIEWS, EventLog, Reading, Unread
from leyden_server.generations.events import (
    CHUNK_BYTES,
    DenoiseProgress,
    Event,
    Image,
    ImageChunk,
    Queued,
    image_events,
)
from leyden_server.stages.contract import PreviewImage

MIB = 2**20


def a_log(*, keeps_payload: bool = False) -> EventLog:
    return EventLog("r-1", keeps_payload=keeps_payload)


def progress(step: int, *, preview: bool = False, image_index: int = 0) -> DenoiseProgress:
    picture = PreviewImage(bytes([step]), "JPEG", 16, 16) if preview else None
    return DenoiseProgress(image_index, step, 100, 999.0, 14.6, 1.0, 1.0, 2, picture)


def image(size: int, image_index: int = 0) -> list[Image | ImageChunk]:
    return list(image_events(Image(image_index, 7, "PNG", 64, 64, size, bytes(size))))


async def read(reading: Reading) -> list[tuple[int, Event]]:
    return [item async for item in reading]


def steps(items: list[tuple[int, Event]]) -> list[int]:
    return [event.step for _, event in items if isinstance(event, DenoiseProgress)]


def previews(items: list[tuple[int, Event]]) -> list[int]:
    return [e.step for _, e in items if isinstance(e, DenoiseProgress) and e.preview is not None]


async def test_events_come_in_order_with_gapless_indices() -> None:
    log = a_log()
    reading = log.read()
    log.put(Queued(2, None))
    log.put(*(progress(step) for step in (1, 2, 3)))
    log.close()
    items = await read(reading)
    assert [index for index, _ in items] == [0, 1, 2, 3]
    assert steps(items) == [1, 2, 3]


async def test_a_reader_that_waits_gets_each_event_at_once() -> None:
    log = a_log()
    items = log.read().__aiter__()
    for step in (1, 2, 3):
        item = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        assert not item.done()
        log.put(progress(step, preview=True))
        _, event = await item
        assert isinstance(event, DenoiseProgress)
        assert (event.step, event.preview is not None) == (step, True)
    end = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    log.close()
    with pytest.raises(StopAsyncIteration):
        await end


async def test_a_failure_comes_after_what_was_not_read() -> None:
    log = a_log()
    reading, late = log.read(), log.read()
    log.put(progress(1))
    log.close(UnavailableError("STAGE_DIED", "it died", 1.0))
    for one in (reading, late):
        items = one.__aiter__()
        assert steps([await anext(items)]) == [1]
        with pytest.raises(UnavailableError, match="it died"):
            await anext(items)


async def test_a_slow_reader_loses_previews_but_never_progress() -> None:
    log = a_log()
    reading = log.read()
    for step in range(1, 101):
        log.put(progress(step, preview=True))
    log.close()
    items = await read(reading)
    assert steps(items) == list(range(1, 101))
    assert previews(items) == list(range(101 - MAX_UNREAD_PREVIEWS, 101))


async def test_images_do_not_take_each_other_s_previews() -> None:
    log = a_log()
    reading = log.read()
    for step in (1, 2):
        for image_index in range(8):  # a batch ends its step for all of them at once
            log.put(progress(step, preview=True, image_index=image_index))
    log.close()
    assert len(previews(await read(reading))) == 16


@pytest.mark.parametrize(("after_index", "first"), [(None, 0), (0, 1), (2, 3), (4, 5), (10**9, 5)])
async def test_a_watcher_begins_behind_any_index(after_index: int | None, first: int) -> None:
    log = a_log(keeps_payload=True)
    log.put(*(progress(step, preview=True) for step in range(1, 6)))
    reading = log.read(after_index)
    log.put(progress(6, preview=True))
    log.close()
    items = await read(reading)
    assert [index for index, _ in items] == list(range(first, 6))
    assert previews(items) == [6], "what was sent before comes without its preview"


async def test_readers_do_not_hold_each_other_up() -> None:
    log = a_log()
    fast, slow = log.read(), log.read()
    log.put(*(progress(step) for step in (1, 2)))
    items = fast.__aiter__()
    assert [(await anext(items))[0] for _ in range(2)] == [0, 1]
    log.put(progress(3))
    assert (await anext(items))[0] == 2
    log.close()
    assert steps(await read(slow)) == [1, 2, 3]


async def test_an_image_is_let_go_once_every_present_reader_has_it() -> None:
    log = a_log()
    fast, slow = log.read(), log.read()
    log.put(*image(10), progress(1))
    items = fast.__aiter__()
    await anext(items)
    assert fast.images_read == 0, "it is being sent"
    await anext(items)
    assert (fast.images_read, log.payload_bytes) == (1, 10)
    assert (fast.unread_bytes, slow.unread_bytes) == (0, 10)
    log.leave(slow)
    assert log.payload_bytes == 0
    with pytest.raises(EventsExpiredError):
        log.read()
    log.close()
    assert steps(await read(log.read(0))) == [1], "what follows it is still there"


async def test_what_lingers_keeps_its_images_until_they_are_dropped() -> None:
    log = a_log(keeps_payload=True)
    reading = log.read()
    log.put(*image(10))
    log.close()
    await read(reading)
    log.leave(reading)
    assert log.payload_bytes == 10
    (again,) = await read(log.read())
    assert isinstance(again[1], Image)
    assert len(again[1].data) == 10
    log.drop_payload()
    assert log.payload_bytes == 0
    with pytest.raises(EventsExpiredError):
        log.read()


async def test_who_is_cut_off_hears_it_next() -> None:
    log = a_log()
    reading = log.read()
    log.put(*(progress(step) for step in (1, 2, 3)))
    items = reading.__aiter__()
    await anext(items)
    reading.cut_off(UnavailableError("ENOUGH", "enough", 1.0))
    with pytest.raises(UnavailableError, match="enough"):
        await anext(items)


async def test_previews_of_the_end_are_not_kept() -> None:
    log = a_log(keeps_payload=True)
    reading = log.read()
    log.put(progress(1, preview=True))
    log.close()
    await read(reading)
    log.leave(reading)
    event = log.event(0)
    assert isinstance(event, DenoiseProgress)
    assert event.preview is None


async def test_the_events_of_one_call_stay_together() -> None:
    log = a_log()
    reading = log.read()
    turns = []

    async def write(image_index: int) -> None:
        for round_ in range(5):
            log.put(*(ImageChunk(image_index, i, b"x", i == 3) for i in range(4)))
            turns.append((image_index, round_))
            await asyncio.sleep(0)

    await asyncio.gather(*(write(i) for i in range(3)))
    log.close()
    items = await read(reading)
    assert turns[0][0] != turns[1][0]  # the writers did take turns
    chunks = [event for _, event in items if isinstance(event, ImageChunk)]
    assert [chunk.offset_bytes for chunk in chunks] == [0, 1, 2, 3] * 15
    assert [index for index, _ in items] == list(range(60))


@pytest.mark.parametrize(
    ("size", "chunk_sizes"),
    [
        (1, []),
        (3 * MIB, []),
        (3 * MIB + 1, [MIB, MIB, MIB, 1]),
        (4 * MIB, [MIB] * 4),
    ],
)
def test_large_images_go_in_chunks(size: int, chunk_sizes: list[int]) -> None:
    data = bytes(range(256)) * (size // 256) + b"\x01" * (size % 256)
    first, *rest = image_events(Image(2, 42, "PNG", 64, 128, size, data))
    assert isinstance(first, Image)
    assert first.size_bytes == size
    assert first.data == (b"" if chunk_sizes else data)
    chunks = [event for event in rest if isinstance(event, ImageChunk)]
    assert [len(chunk.data) for chunk in chunks] == chunk_sizes
    if chunks:
        assert b"".join(chunk.data for chunk in chunks) == data
        assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert [chunk.offset_bytes for chunk in chunks] == [
            CHUNK_BYTES * i for i in range(len(chunks))
        ]
        assert {chunk.image_index for chunk in chunks} == {2}


async def test_what_is_unread_is_counted_over_all_logs() -> None:
    unread = Unread()
    logs = [EventLog("r-1", keeps_payload=keeps, unread=unread) for keeps in (True, False)]

    def counted() -> int:
        readings = [reading for log in logs for reading in log.readings]
        assert unread.bytes == sum(reading.unread_bytes for reading in readings)
        return unread.bytes

    early = [log.read() for log in logs]
    for log in logs:
        log.put(*image(5), *image(3, image_index=1))
    assert counted() == 16
    late = logs[0].read()
    assert counted() == 24
    items = [aiter(reading) for reading in (*early, late)]
    for item in items:
        await anext(item)
        await anext(item)  # only now the first one is read
    assert counted() == 9
    logs[0].drop_payload()
    assert counted() == 3
    logs[1].leave(early[1])
    logs[1].leave(early[1])
    assert counted() == 0
    for log in logs:
        log.close()
    assert [item async for item in items[0]] == []
    assert counted() == 0
