"""Traces by OpenTelemetry: a request and the work of its stages as spans, sent by OTLP.

A module of its own imports OpenTelemetry (`otlp`), and only where `gateway.trace_endpoint` is set.
"""

import asyncio
from importlib.util import find_spec
from typing import Protocol

from leyden_server.config import GatewayConfig
from leyden_server.errors import StartupError
from leyden_server.generations.tracing import NoTracer, Tracer

__all__ = ["check_tracing", "open_tracing"]

NEEDED = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"


class Tracing(Tracer, Protocol):
    """A tracer that is opened with a Gateway and closed with it."""

    async def close(self) -> None:
        """Send what is left, for a bounded time."""


class _Off(NoTracer):
    async def close(self) -> None:
        """Do nothing."""
        await asyncio.sleep(0)


def check_tracing(config: GatewayConfig) -> None:
    """Check that what the config asks for is installed.

    Raises:
        StartupError: traces are asked for and OpenTelemetry is not there.

    """
    if config.trace_endpoint and not _is_installed():
        raise StartupError(
            f"gateway.trace_endpoint is {config.trace_endpoint}, and OpenTelemetry's exporter is "
            "not installed: pip install 'leyden[tracing]', or leave the setting empty"
        )


def open_tracing(config: GatewayConfig, replica: str) -> Tracing:
    """Return what traces the requests of the Gateway `replica`, as the config says.

    Raises:
        StartupError: traces are asked for and OpenTelemetry is not there.

    """
    if not config.trace_endpoint:
        return _Off()
    check_tracing(config)
    from leyden_server.gateway.otlp import OtlpTracing

    return OtlpTracing(config.trace_endpoint, config.trace_sample_ratio, replica)


def _is_installed() -> bool:
    try:
        return find_spec(NEEDED) is not None
    except ModuleNotFoundError:
        return False
