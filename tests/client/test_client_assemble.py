"""From responses to events: what is joined, and what is refused."""

import random

import pytest
from support.scripted_server import (
    REQUEST_ID,
    chunks,
    image,
    numbered,
    progress,
    queued,
    summary,
    text_encoded,
    whole_script,
)

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_client import DenoiseProgress, Event, Image, ProtocolError, Summary
from leyden_client._assemble import EventAssembler


def assemble(responses: list[pb.GenerateImageResponse], image_count: int = 1) -> list[Event]:
    assembler = EventAssembler(REQUEST_ID, image_count)
    events = [event for r in responses if (event := assembler.add(r)) is not None]
    assembler.finish()
    return events


@pytest.mark.parametrize("rng_seed", range(50))
def test_chunks_join_to_the_image_however_they_are_cut(rng_seed: int) -> None:
    rng = random.Random(rng_seed)
    image_count = rng.randint(1, 3)
    pictures = [rng.randbytes(rng.randint(1, 5000)) for _ in range(image_count)]
    responses = [queued(), text_encoded()]
    for index in rng.sample(range(image_count), image_count):
        data = pictures[index]
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 5)))
        parts = chunks(data, cuts, index)
        if rng.random() < 0.5:
            # Another image's steps may come between the chunks.
            parts.insert(rng.randrange(len(parts)), progress(1, image_index=0))
        responses += [image(data, index, chunked=True), *parts]
    events = assemble(numbered(*responses, summary(image_count)), image_count)

    assert {e.image_index: e.data for e in events if isinstance(e, Image)} == dict(
        enumerate(pictures)
    )
    indices = [event.event_index for event in events]
    assert indices == sorted(set(indices))
    assert isinstance(events[-1], Summary)


def test_a_whole_image_and_its_steps() -> None:
    events = assemble(whole_script(b"pixels"))
    steps = [e for e in events if isinstance(e, DenoiseProgress)]
    assert [(s.step, s.elapsed_s, s.remaining_s) for s in steps] == [(1, 0.25, 0.25), (2, 0.5, 0.0)]
    (picture,) = [e for e in events if isinstance(e, Image)]
    assert (picture.data, picture.size_bytes, picture.seed) == (b"pixels", 6, 7)
    assert "pixels" not in repr(picture)


def test_an_event_of_a_later_version_is_passed_over() -> None:
    script = numbered(queued(), pb.GenerateImageResponse(), image(b"x"), summary())
    assert len(assemble(script)) == 3


def _shifted(script: list[pb.GenerateImageResponse]) -> list[pb.GenerateImageResponse]:
    script[1].event_index += 1
    return script


def _renamed(script: list[pb.GenerateImageResponse]) -> list[pb.GenerateImageResponse]:
    script[1].request_id = "another"
    return script


DATA = bytes(range(100))
BROKEN = {
    "no summary": (numbered(queued(), image(DATA)), "no summary"),
    "nothing": ([], "no summary"),
    "gap": (_shifted(numbered(queued(), image(DATA), summary())), "event 1 was due, event 2"),
    "another request": (_renamed(numbered(queued(), image(DATA), summary())), "'another'"),
    "after the summary": (numbered(image(DATA), summary(), queued()), "after the summary"),
    "no image": (numbered(summary()), "without image 0"),
    "image twice": (numbered(image(DATA), image(DATA)), "came twice"),
    "image not asked for": (numbered(image(DATA, 1)), "not asked for"),
    "step not asked for": (numbered(progress(1, image_index=1)), "not asked for"),
    "empty image": (numbered(image(b"")), "0 bytes"),
    "wrong size": (numbered(image(DATA, size_bytes=99)), "100 of its 99"),
    "chunk alone": (numbered(*chunks(DATA, [])), "without its image"),
    "chunk missing": (
        numbered(image(DATA, chunked=True), *chunks(DATA, [30, 60])[::2]),
        "at 30 bytes was due, the one at 60",
    ),
    "chunks too long": (
        numbered(image(DATA, chunked=True, size_bytes=50), *chunks(DATA, [40])),
        "past its 50",
    ),
    "chunks too short": (
        numbered(image(DATA, chunked=True, size_bytes=101), *chunks(DATA, [40])),
        "100 of its 101",
    ),
    "summary among chunks": (
        numbered(image(DATA, chunked=True), *chunks(DATA, [40])[:1], summary()),
        "without image 0",
    ),
}


@pytest.mark.parametrize(("responses", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_stream_is_refused(
    responses: list[pb.GenerateImageResponse], message: str
) -> None:
    with pytest.raises(ProtocolError, match=message):
        assemble(responses)


def test_chunks_of_two_images_do_not_mix() -> None:
    script = numbered(image(DATA, 0, chunked=True), image(DATA, 1))
    with pytest.raises(ProtocolError, match="between the chunks"):
        assemble(script, image_count=2)
