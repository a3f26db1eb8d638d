"""Holds the address of the HTTP door, for the server's lifetime as the gRPC address is."""

from leyden_server.address import ReservedAddress
from leyden_server.config import GatewayConfig

__all__ = ["WebAddress"]

SETTINGS = "--web (gateway.web_host, gateway.web_port)"


class WebAddress(ReservedAddress):
    """The address of the HTTP door, ours until it is closed."""

    def __init__(self, config: GatewayConfig, sharer: str = "") -> None:
        """Take it; raises as ReservedAddress does. There must be a door."""
        assert config.web_port is not None, "whoever asks has looked whether there is a door"
        super().__init__(config.web_host, config.web_port, sharer, settings=SETTINGS)
        self._scheme = "http" if config.tls_certificate is None else "https"

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"{self._scheme}://{self}/"
