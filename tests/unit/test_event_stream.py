"""Events in order to a reader who may be slow, and how they are built."""

import asyncio
from collections.abc import Iterator

import pytest

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.gateway.leyden_v1 import encoding as build
from leyden_server.generations.event_log import MAX_UNREAD_PREVIEWS, EventStream
from leyden_server.generations.rules import GenerationParameters, validate
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DecodedImage, EngineLoad, PreviewImage, StepDone

MIB = 2**20
IDLE = EngineLoad((0,) * 9, (0,) * 9, 0.0, 8)


def progress(step: int, *, preview: bool = False, image_index: int = 0) -> pb.GenerateImageResponse:
    image = PreviewImage(bytes([step]), "JPEG", 16, 16) if preview else None
    done = StepDone(step, 999.0, 14.6, 0.1, batch_rows=2, preview=image, load=IDLE)
    return build.denoise_progress(image_index, done, 100, elapsed_s=1.0, loop_s=step / 10)


def chunks(count: int) -> Iterator[pb.GenerateImageResponse]:
    for i in range(count):
        chunk = pb.ImageChunk(offset_bytes=i, last=i == count - 1)
        yield pb.GenerateImageResponse(image_chunk=chunk)


async def read(stream: EventStream) -> list[pb.GenerateImageResponse]:
    return [event async for event in stream]


@pytest.fixture
def parameters(lightning: ResolvedModel) -> GenerationParameters:
    request = pb.GenerateImageRequest(prompt="a lake", seed=40, image_count=3, request_id="mine")
    return validate(request, lightning, GatewayConfig())


async def test_events_come_in_order_with_gapless_indices() -> None:
    stream = EventStream("r-1")
    stream.put(build.queued(2, None))
    stream.put(*(progress(step) for step in (1, 2, 3)))
    stream.close()
    events = await read(stream)

    assert [event.event_index for event in events] == [0, 1, 2, 3]
    assert {event.request_id for event in events} == {"r-1"}
    assert [event.denoise_progress.step for event in events] == [0, 1, 2, 3]


async def test_a_reader_that_waits_gets_each_event_at_once() -> None:
    stream = EventStream("r")
    reader = stream.__aiter__()
    for step in (1, 2, 3):
        event = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        assert not event.done()
        stream.put(progress(step, preview=True))
        assert (await event).denoise_progress.step == step
        assert (await event).denoise_progress.HasField("preview")
    end = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await end


async def test_a_slow_reader_loses_previews_but_never_progress() -> None:
    stream = EventStream("r")
    for step in range(1, 101):
        stream.put(progress(step, preview=True))
    stream.close()
    events = await read(stream)

    assert [event.denoise_progress.step for event in events] == list(range(1, 101))
    assert [event.event_index for event in events] == list(range(100))
    kept = [e.denoise_progress.step for e in events if e.denoise_progress.HasField("preview")]
    assert kept == list(range(101 - MAX_UNREAD_PREVIEWS, 101))


async def test_images_do_not_take_each_other_s_previews() -> None:
    stream = EventStream("r")
    for step in (1, 2):
        for image_index in range(8):  # a batch ends its step for all of them at once
            stream.put(progress(step, preview=True, image_index=image_index))
    stream.close()

    assert all(e.denoise_progress.HasField("preview") for e in await read(stream))


async def test_a_preview_that_was_read_makes_room() -> None:
    stream = EventStream("r")
    reader = stream.__aiter__()
    seen = []
    for step in range(1, 41):
        stream.put(progress(step, preview=True))
        if step % 2 == 0:
            seen += [await anext(reader), await anext(reader)]

    assert all(event.denoise_progress.HasField("preview") for event in seen)
    assert len(seen) == 40


async def test_the_events_of_one_call_stay_together() -> None:
    stream = EventStream("r")
    turns = []

    async def write(image_index: int) -> None:
        for round_ in range(5):
            stream.put(*chunks(4))
            turns.append((image_index, round_))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read(stream))
        writers = [asyncio.ensure_future(write(i)) for i in range(3)]
        await asyncio.gather(*writers)
        stream.close()
    events = reading.result()

    assert turns[0][0] != turns[1][0]  # the writers did take turns
    assert [event.image_chunk.offset_bytes for event in events] == [0, 1, 2, 3] * 15
    assert [event.event_index for event in events] == list(range(60))


def test_progress_carries_the_step_and_an_estimate() -> None:
    event = progress(4, preview=True).denoise_progress

    assert (event.step, event.total_steps, event.batch_rows) == (4, 100, 2)
    assert event.elapsed_duration.ToMilliseconds() == 1000
    assert event.remaining_duration.ToMilliseconds() == 9600  # 4 steps took 0.4 s, 96 are left
    assert (event.preview.width_px, event.preview.format) == (16, pb.OUTPUT_FORMAT_JPEG)
    assert progress(100).denoise_progress.remaining_duration.ToNanoseconds() == 0
    assert not progress(100).denoise_progress.HasField("preview")


def test_an_unknown_wait_is_absent() -> None:
    assert not build.queued(3, None).queued.HasField("expected_wait_duration")
    assert build.queued(3, 0.0).queued.HasField("expected_wait_duration")
    assert build.queued(3, 1.5).queued.expected_wait_duration.ToMilliseconds() == 1500
    assert build.duration(-1e-9).ToNanoseconds() == 0


@pytest.mark.parametrize(
    ("size", "chunk_sizes"),
    [
        (1, []),
        (3 * MIB, []),
        (3 * MIB + 1, [MIB, MIB, MIB, 1]),
        (4 * MIB, [MIB] * 4),
    ],
)
def test_large_images_go_in_chunks(
    parameters: GenerationParameters, size: int, chunk_sizes: list[int]
) -> None:
    data = bytes(range(256)) * (size // 256) + b"\x01" * (size % 256)
    decoded = DecodedImage(data, 64, 128, 0.1, 0.1, "vae#1")
    first, *rest = build.image_events(2, decoded, parameters)

    assert (first.image.image_index, first.image.seed) == (2, 42)
    assert (first.image.width_px, first.image.height_px) == (64, 128)
    assert first.image.size_bytes == size
    assert first.image.data == (b"" if chunk_sizes else data)
    assert [len(event.image_chunk.data) for event in rest] == chunk_sizes
    assert all(event.ByteSize() < 4 * MIB for event in (first, *rest))
    if rest:
        assert b"".join(event.image_chunk.data for event in rest) == data
        assert [event.image_chunk.last for event in rest] == [False] * (len(rest) - 1) + [True]
        offsets = [event.image_chunk.offset_bytes for event in rest]
        assert offsets == [MIB * i for i in range(len(rest))]
        assert {event.image_chunk.image_index for event in rest} == {2}
