"""Events as `leyden.v1` sends them."""

import pytest

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.gateway.leyden_v1.encoding import response
from leyden_server.gateway.status import duration
from leyden_server.generations.events import DenoiseProgress, Event, Image, Queued, image_events
from leyden_server.stages.contract import PreviewImage

MIB = 2**20


def progress(*, preview: bool = False) -> DenoiseProgress:
    picture = PreviewImage(b"p", "JPEG", 16, 12) if preview else None
    return DenoiseProgress(1, 4, 100, 999.0, 14.5, 1.0, 9.6, 2, picture)


def message(event: Event, index: int = 3) -> pb.GenerateImageResponse:
    return response("mine", index, event)


def test_an_event_has_its_generation_and_its_index() -> None:
    event = message(progress(), 7)
    assert (event.request_id, event.event_index) == ("mine", 7)
    assert event.WhichOneof("event") == "denoise_progress"


def test_progress_is_told_whole() -> None:
    event = message(progress(preview=True)).denoise_progress
    assert (event.image_index, event.step, event.total_steps, event.batch_rows) == (1, 4, 100, 2)
    assert (event.timestep, event.sigma) == (999.0, 14.5)
    assert event.elapsed_duration.ToMilliseconds() == 1000
    assert event.remaining_duration.ToMilliseconds() == 9600
    preview = event.preview
    assert (preview.data, preview.format) == (b"p", pb.OUTPUT_FORMAT_JPEG)
    assert (preview.width_px, preview.height_px) == (16, 12)
    assert not message(progress()).denoise_progress.HasField("preview")


def test_an_unknown_wait_is_absent() -> None:
    assert not message(Queued(3, None)).queued.HasField("expected_wait_duration")
    assert message(Queued(3, 0.0)).queued.HasField("expected_wait_duration")
    assert message(Queued(3, 1.5)).queued.expected_wait_duration.ToMilliseconds() == 1500


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.5, 1.0, 59.999999999, 1e6])
def test_seconds_are_a_duration_of_protobuf(seconds: float) -> None:
    assert duration(seconds).ToNanoseconds() == round(seconds * 1e9)
    assert duration(-1e-9).ToNanoseconds() == 0


def test_every_message_is_below_what_grpc_clients_take() -> None:
    data = bytes(5 * MIB)
    events = image_events(Image(0, 1, "WEBP", 64, 64, len(data), data))
    assert len(events) == 6
    assert all(message(event).ByteSize() < 4 * MIB for event in events)
    assert message(events[0]).image.format == pb.OUTPUT_FORMAT_WEBP
