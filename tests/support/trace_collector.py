"""A receiver of traces: OTLP's TraceService over gRPC, and the spans that came."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from support.patience import PATIENCE_S

__all__ = ["TraceCollector", "attributes", "collecting"]


class TraceCollector(pb_grpc.TraceServiceServicer):
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.metadata: dict[str, str | bytes] = {}
        """Of the last call."""
        self._came = threading.Condition()

    def Export(  # noqa: N802 - gRPC's name
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        with self._came:
            self.metadata = dict(context.invocation_metadata())
            for of_resource in request.resource_spans:
                self.resources.append(attributes(of_resource.resource))
                for of_scope in of_resource.scope_spans:
                    self.spans.extend(of_scope.spans)
            self._came.notify_all()
        return pb.ExportTraceServiceResponse()

    def requests(self, count: int) -> list[Span]:
        """Wait for the spans of so many requests and return those, in the order of their start."""

        def servers() -> list[Span]:
            return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

        with self._came:
            came = self._came.wait_for(lambda: len(servers()) >= count, PATIENCE_S)
            assert came, f"{len(servers())} of {count} requests came"
            return sorted(servers(), key=lambda span: span.start_time_unix_nano)

    def request(self, trace_id: str) -> Span:
        """Wait for the span of the request that belongs to this trace."""

        def found() -> list[Span]:
            return [
                span
                for span in self.spans
                if span.trace_id.hex() == trace_id and span.kind == Span.SPAN_KIND_SERVER
            ]

        with self._came:
            assert self._came.wait_for(found, PATIENCE_S), f"{trace_id} did not come"
            return found()[0]

    def below(self, parent: Span) -> list[Span]:
        """Return the spans below a request's, in the order of their start."""
        children = [span for span in self.spans if span.parent_span_id == parent.span_id]
        assert all(span.trace_id == parent.trace_id for span in children)
        return sorted(children, key=lambda span: span.start_time_unix_nano)


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span or resource as Python has them."""
    return {
        pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in of.attributes
    }


@contextmanager
def collecting() -> Iterator[TraceCollector]:
    """Run a collector on a free port of this machine."""
    collector = TraceCollector()
    server = grpc.server(ThreadPoolExecutor(2))
    add_to_server: Any = pb_grpc.add_TraceServiceServicer_to_server  # untyped
    add_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(grace=None).wait()
