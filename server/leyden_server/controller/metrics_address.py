"""Holds the address of the metrics page, for the server's lifetime as the gRPC address is."""

from leyden_server.address import ReservedAddress
from leyden_server.config import DEFAULT_METRICS_PORT, GatewayConfig

__all__ = ["MetricsAddress", "metrics_port"]

SETTINGS = "--metrics-port (gateway.metrics_host, gateway.metrics_port; null: no page)"


class MetricsAddress(ReservedAddress):
    """The address of the page, ours until it is closed."""

    def __init__(self, config: GatewayConfig, sharer: str = "") -> None:
        """Take it; raises as ReservedAddress does. The page must not be off."""
        port = metrics_port(config)
        assert port is not None, "whoever asks for an address has looked whether there is a page"
        super().__init__(config.metrics_host, port, sharer, settings=SETTINGS)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self}/metrics"


def metrics_port(config: GatewayConfig) -> int | None:
    """Return the port that is to be taken, 0 for a free one; None: there is no page."""
    if config.metrics_port == "auto":
        return DEFAULT_METRICS_PORT if config.port else 0
    return config.metrics_port
