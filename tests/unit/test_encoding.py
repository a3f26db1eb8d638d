"""Events as `leyden.v1` sends them."""

from typing import get_args

import pytest
from google.protobuf import json_format

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.gateway.leyden_v1.decoding import SOLVER_OF_WIRE
from leyden_server.gateway.leyden_v1.encoding import response
from leyden_server.gateway.status import set_duration
from leyden_server.generations.events import (
    Bill,
    DenoiseProgress,
    Event,
    Image,
    ImageBill,
    Queued,
    StepBill,
    Summary,
    TextEncoded,
    image_events,
)
from leyden_server.generations.parameters import RequestWarning
from leyden_server.sampling import Sampling, SolverName
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
    bill = pb.Bill()
    set_duration(bill.queue_duration, seconds)
    assert bill.HasField("queue_duration")
    assert bill.queue_duration.ToNanoseconds() == round(seconds * 1e9)
    set_duration(bill.queue_duration, -1e-9)
    assert bill.queue_duration.ToNanoseconds() == 0


def test_an_event_of_zeros_is_an_event() -> None:
    assert message(Queued(0, None)).WhichOneof("event") == "queued"
    assert message(TextEncoded(0, truncated=False)).WhichOneof("event") == "text_encoded"


def test_every_solver_has_its_name_on_the_wire() -> None:
    assert list(SOLVER_OF_WIRE) == pb.Solver.values()
    names = {pb.Solver.Name(wire): name for wire, name in SOLVER_OF_WIRE.items() if name}
    assert names == {f"SOLVER_{name.upper()}": name for name in get_args(SolverName)}


def test_the_summary_tells_all_that_it_cost() -> None:
    steps = (StepBill(0.5, 2), StepBill(0.0, 1))
    image = ImageBill(0, steps, 0.25, 0.125, "denoiser#1", "vae#1")
    bill = Bill(1.0, 2.0, 3.0, "text#1", "gateway#1", (image,))
    sampling = Sampling(7, 256, 128, 2, 1.5, "euler_ancestral")
    warning = RequestWarning("PROMPT_TRUNCATED", "prompt", "80 tokens")
    event = message(Summary((warning,), "tiny", "sha256:0", 1, sampling, bill)).summary
    assert json_format.MessageToDict(event, preserving_proto_field_name=True) == {
        "warnings": [{"reason": "PROMPT_TRUNCATED", "field": "prompt", "message": "80 tokens"}],
        "model": "tiny",
        "model_revision": "sha256:0",
        "retries": 1,
        "width_px": 256,
        "height_px": 128,
        "num_inference_steps": 2,
        "guidance_scale": 1.5,
        "solver": "SOLVER_EULER_ANCESTRAL",
        "bill": {
            "queue_duration": "1s",
            "text_encode_duration": "2s",
            "total_duration": "3s",
            "text_encoder_replica": "text#1",
            "gateway_replica": "gateway#1",
            "images": [
                {
                    "steps": [
                        {"duration": "0.500s", "batch_rows": 2},
                        {"duration": "0s", "batch_rows": 1},
                    ],
                    "vae_decode_duration": "0.250s",
                    "image_encode_duration": "0.125s",
                    "denoiser_replica": "denoiser#1",
                    "image_decoder_replica": "vae#1",
                }
            ],
        },
    }


def test_every_message_is_below_what_grpc_clients_take() -> None:
    data = bytes(5 * MIB)
    events = image_events(Image(0, 1, "WEBP", 64, 64, len(data), data))
    assert len(events) == 6
    assert all(message(event).ByteSize() < 4 * MIB for event in events)
    assert message(events[0]).image.format == pb.OUTPUT_FORMAT_WEBP
