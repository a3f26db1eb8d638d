"""A receiver of traces that keeps the spans: what a server says of where an image's time went."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["ImageTimes", "SpanSink", "collecting"]

PATIENCE_S = 60.0
STAGES = ("text_encode", "denoise_step", "vae_decode", "image_encode")


@dataclass(frozen=True, slots=True)
class ImageTimes:
    """Where the time of a request for one image went, in milliseconds."""

    total: float
    """From the request's arrival to its last event."""
    model: float
    """In which a stage ran."""
    text_encode: float
    """Of the text encoders alone."""
    denoise_steps: float
    vae_decode: float
    image_encode: float
    before_text: float
    """From the arrival until the text encoders ran."""
    before_steps: float
    """From their end until the first step."""
    between_steps: float
    before_vae: float
    before_encode: float
    after: float
    """From the file's end to the last event."""

    @classmethod
    def of(cls, request: Span, below: list[Span]) -> "ImageTimes":
        """Return it of a request's span and those below it."""
        runs = sorted(
            (span for span in below if span.name in STAGES),
            key=lambda span: span.start_time_unix_nano,
        )
        text, steps = runs[0], [run for run in runs if run.name == "denoise_step"]
        vae, file = runs[-2:]
        assert [text.name, vae.name, file.name] == ["text_encode", *STAGES[2:]]
        gaps = [_ms(before, after) for before, after in itertools.pairwise(steps)]
        total = _took(request)
        model = sum(map(_took, runs))
        return cls(
            total=total,
            model=model,
            text_encode=_took(text),
            denoise_steps=sum(map(_took, steps)),
            vae_decode=_took(vae),
            image_encode=_took(file),
            before_text=(text.start_time_unix_nano - request.start_time_unix_nano) / 1e6,
            before_steps=_ms(text, steps[0]),
            between_steps=sum(gaps),
            before_vae=_ms(steps[-1], vae),
            before_encode=_ms(vae, file),
            after=(request.end_time_unix_nano - file.end_time_unix_nano) / 1e6,
        )


class SpanSink(pb_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent until they are taken."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._spans: list[Span] = []
        self._came = threading.Condition()

    def Export(  # noqa: N802 - gRPC's name
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        """Take spans."""
        del context
        with self._came:
            for of_resource in request.resource_spans:
                for of_scope in of_resource.scope_spans:
                    self._spans.extend(of_scope.spans)
            self._came.notify_all()
        return pb.ExportTraceServiceResponse()

    def take(self, requests: int) -> list[ImageTimes]:
        """Wait for so many requests' spans and return what they say, in the order of arrival.

        Raises:
            TimeoutError: they did not come within a minute.

        """

        def roots() -> list[Span]:
            return [span for span in self._spans if span.kind == Span.SPAN_KIND_SERVER]

        with self._came:
            if not self._came.wait_for(lambda: len(roots()) >= requests, PATIENCE_S):
                raise TimeoutError(f"spans of {len(roots())} of {requests} requests came")
            ordered = sorted(roots(), key=lambda span: span.start_time_unix_nano)
            times = [
                ImageTimes.of(
                    root, [span for span in self._spans if span.parent_span_id == root.span_id]
                )
                for root in ordered
            ]
            self._spans.clear()
            return times


@contextmanager
def collecting() -> Iterator[SpanSink]:
    """Give a sink that receives at its `endpoint`."""
    sink = SpanSink()
    server = grpc.server(ThreadPoolExecutor(1))
    pb_grpc.add_TraceServiceServicer_to_server(sink, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sink.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield sink
    finally:
        server.stop(None).wait()


def _took(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6


def _ms(before: Span, after: Span) -> float:
    """Return what lies between the one's end and the other's start."""
    return (after.start_time_unix_nano - before.end_time_unix_nano) / 1e6
