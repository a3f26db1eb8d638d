"""Traces of real stages: their spans have the times at which the work was done."""

import secrets
from itertools import pairwise

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from server.conftest import BASE, KINDS
from support.patience import PATIENCE_S
from support.running_server import RunningServer, request
from support.trace_collector import TraceCollector, attributes

pytestmark = pytest.mark.parametrize("server", KINDS, indirect=True)


def traced(
    server: RunningServer, collector: TraceCollector, prompt: str
) -> tuple[Span, list[Span]]:
    """Generate two images; return the request's span and those below it."""
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    fields = {"model": BASE, "image_count": 2, "num_inference_steps": 3, "guidance_scale": 5.0}
    call = server.images.GenerateImage(
        request(prompt=prompt, negative_prompt="fog", **fields),
        metadata=(("traceparent", f"00-{trace_id}-{parent_id}-01"),),
        timeout=PATIENCE_S,
    )
    assert list(call)[-1].HasField("summary")
    root = collector.request(trace_id)
    assert root.parent_span_id.hex() == parent_id
    return root, collector.below(root)


def test_each_piece_of_work_has_its_own_time(
    server: RunningServer, collector: TraceCollector
) -> None:
    root, spans = traced(server, collector, f"a lake {secrets.token_hex(4)}")
    for span in spans:
        assert root.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
    by_name: dict[str, list[Span]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    encodings = by_name.pop("text_encode")
    assert len(encodings) in (1, 2), "the negative prompt may be known from before"
    assert {name: len(found) for name, found in by_name.items()} == {
        "queue": 2,
        "denoise_step": 6,
        "vae_decode": 2,
        "image_encode": 2,
    }
    for index in range(2):
        of_image = [s for s in spans if attributes(s).get("leyden.image_index") == index]
        names = [span.name for span in of_image]
        assert names == ["queue", *["denoise_step"] * 3, "vae_decode", "image_encode"]
        waited, *in_order = of_image
        first_ns = in_order[0].start_time_unix_nano
        assert abs(waited.end_time_unix_nano - first_ns) < 1000, "of a float, digits are lost"
        for before, after in pairwise(in_order):
            assert before.end_time_unix_nano <= after.start_time_unix_nano, (before, after)
        assert [attributes(s)["leyden.step"] for s in in_order[:3]] == [1, 2, 3]
        # With guidance an image is two rows, and the two images may share a step.
        assert {attributes(s)["leyden.batch_rows"] for s in in_order[:3]} <= {2, 4}


def test_a_prompt_from_the_cache_has_no_encoding(
    server: RunningServer, collector: TraceCollector
) -> None:
    prompt = f"a lake {secrets.token_hex(4)}"
    traced(server, collector, prompt)
    _, spans = traced(server, collector, prompt)
    assert "text_encode" not in {span.name for span in spans}
