"""Spans by OpenTelemetry's SDK, exported by its own OTLP exporters in a thread of theirs.

Its interceptor for grpc.aio servers is not used: 0.66b2 breaks handlers that write to the context,
and shows neither a cancel nor an error as one.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import grpc
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as SpanMaker
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from leyden_server.generations.records import RequestRecord
from leyden_server.generations.tracing import UNTRACED, Details, Trace, TraceContext
from leyden_server.stages.contract import StageRun

__all__ = ["OtlpTracing"]

logger = logging.getLogger(__name__)

FLUSH_S = 2.0
"""For how long a Gateway that stops waits until its last spans are sent."""

SYSTEMS = {"connect": "connectrpc", "openai": "openai"}
"""OpenTelemetry's word for what is spoken, by ours; gRPC-Web is gRPC too."""

EXPORTERS = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
"""Loggers of what sends."""

SAYING_PERIOD_S = 60.0
"""How often the log hears of a collector that is away: the exporters say so at every try."""

Value = str | int | float


class OtlpTracing:
    """Makes the traces of one Gateway and sends them to a collector.

    A collector that is away costs spans and lines of the log, and no request: spans wait in a queue
    of bounded length, which a thread sends from.
    """

    def __init__(self, endpoint: str, sample_ratio: float, replica: str) -> None:
        """Send to `endpoint`: by gRPC, or by HTTP where it has a path.

        `sample_ratio` is the share of traces that begin here; those that begin elsewhere are
        sampled as their `traceparent` says. `replica` is this Gateway's name.
        """
        self._exporter = _exporter(endpoint)
        for name in EXPORTERS:
            logging.getLogger(name).addFilter(_SELDOM)
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(sample_ratio),
            resource=_resource(replica),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._spans = self._provider.get_tracer("leyden")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, record: RequestRecord, context: TraceContext | None) -> Trace:
        """Begin a request's span; UNTRACED where it is not sampled."""
        span = self._spans.start_span(
            record.method,
            self._parent(context),
            SpanKind.SERVER,
            {
                "rpc.system.name": SYSTEMS.get(record.protocol, "grpc"),
                "rpc.method": record.method,
            },
            start_time=_ns(record.started),
        )
        return _Trace(self._spans, span) if span.is_recording() else UNTRACED

    async def close(self) -> None:
        """Send what is left, for FLUSH_S at most."""
        # A thread of our own: Python waits at its end for those of `to_thread`.
        flushing = threading.Thread(target=self._provider.shutdown, name="trace-flush", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH_S)
        if flushing.is_alive():
            logger.warning("the collector of traces does not answer: the last spans are lost")
            self._exporter.shutdown()  # ends the export that hangs

    def _parent(self, context: TraceContext | None) -> Context:
        if context is None:
            return Context()
        headers = {"traceparent": context.traceparent, "tracestate": context.tracestate}
        return self._propagator.extract(headers, Context())


class _Seldom(logging.Filter):
    """Lets a line through once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether it is time for a line."""
        if "shutdown" in record.getMessage().lower():
            return False  # ours, as the Gateway ends: it has said that the last spans are lost
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + SAYING_PERIOD_S
        return True


_SELDOM = _Seldom()
"""For the process, as loggers are."""


class _Trace:
    """A request's span and, below it, a span for each piece of work."""

    def __init__(self, spans: SpanMaker, span: Span) -> None:
        self.trace_id = format_trace_id(span.get_span_context().trace_id)
        self._spans = spans
        self._span = span
        self._context = set_span_in_context(span, Context())

    def worked(self, what: str, run: StageRun, details: Details) -> None:
        """Make a span of a stage's run."""
        self.waited(what, run.started_s, run.duration_s, {**details, "batch_rows": run.batch_rows})

    def waited(self, what: str, started_s: float, duration_s: float, details: Details) -> None:
        """Make a span of what took this time."""
        span = self._spans.start_span(
            what, self._context, attributes=_ours(details), start_time=_ns(started_s)
        )
        span.end(_ns(started_s + duration_s))

    def ended(self, record: RequestRecord) -> None:
        """End the request's span as the record says."""
        span = self._span
        span.set_attribute("rpc.response.status_code", record.code)
        span.set_attributes(_ours(_facts(record)))
        if record.code != grpc.StatusCode.OK.name:
            span.set_attribute("error.type", record.reason or record.code)
            span.set_status(Status(StatusCode.ERROR, record.reason or record.code))
        span.end()


def _facts(record: RequestRecord) -> dict[str, Value]:
    """Return what is told of a request: what it cost and was, and nothing that it said.

    Nor its request_id, which may be all that is needed to watch it.
    """
    facts: dict[str, Value | None] = {
        "model": record.model or None,
        "key": record.key or None,
        "image_count": record.image_count or None,
        "images_sent": record.images_sent,
        "priority": record.priority or None,
        "queue_s": record.queue_s,
        "retries": record.retries,
        "unet_rows": record.unet_rows,
    }
    if record.sampling is not None:
        facts |= {
            "width_px": record.sampling.width_px,
            "height_px": record.sampling.height_px,
            "num_inference_steps": record.sampling.num_inference_steps,
        }
    return {name: value for name, value in facts.items() if value is not None}


def _ours(details: Details) -> Mapping[str, Value]:
    return {f"leyden.{name}": value for name, value in details.items()}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _resource(replica: str) -> Resource:
    """Return what the spans are of. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first."""
    told = Resource.create()
    if str(told.attributes["service.name"]).startswith("unknown_service"):
        told = told.merge(Resource({"service.name": "leyden"}))
    return Resource({"leyden.replica": replica}).merge(told)


def _exporter(endpoint: str) -> SpanExporter:
    """Return the exporter; TLS, headers and timeouts are as the environment says (OTEL_…)."""
    if urlsplit(endpoint).path.strip("/"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

    return OverGrpc(endpoint)
