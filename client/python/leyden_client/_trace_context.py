"""The caller's trace goes along with its calls: W3C Trace Context in the metadata."""

import sys

__all__ = ["with_trace_context"]

Metadata = tuple[tuple[str, str], ...]


def with_trace_context(metadata: Metadata) -> Metadata:
    """Return the metadata with `traceparent` of the span that is current, if there is one.

    OpenTelemetry is asked where the program has imported it, and never imported for this alone.
    Metadata that names a trace already stays as it is.
    """
    if "opentelemetry.trace" not in sys.modules or "traceparent" in dict(metadata):
        return metadata
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return (*metadata, *headers.items())
