"""Settings of the Gateway's door: who comes in, how much of it, and what is said of it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from leyden_server.strict_model import StrictModel

__all__ = ["DoorConfig", "OpenService"]

OpenService = Literal["health", "reflection"]

SettledPath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""Of a file: the Gateways' processes may have another working directory."""


class DoorConfig(StrictModel):
    """TLS, API keys, limits of a connection, and what logs may say."""

    tls_certificate: SettledPath | None = None
    """PEM file with the server's certificate and those up to one that clients believe. With
    tls_private_key it turns TLS on. Both are read again when they change; calls that run go
    on. A relative path is one of the folder that the server is started in."""

    tls_private_key: SettledPath | None = None
    """PEM file with the private key of tls_certificate, without a password."""

    tls_client_ca: SettledPath | None = None
    """PEM file with the certificates whose clients alone are let in (mutual TLS). Read again
    when it changes."""

    insecure: bool = False
    """Whether plaintext is spoken beyond this machine, where host is not a loopback address
    and there is no TLS. Prompts, images and API keys can then be read on the way."""

    api_keys: SettledPath | None = None
    """File of API keys, which `leyden keys add` writes; every call then needs one of them. Read
    again when it changes. Not set: whoever reaches the port may call, and whoever does so from
    this machine has an operator's rights."""

    open_without_key: tuple[OpenService, ...] = ("health",)
    """What needs no key where there are keys: `health` (also KServe's ServerLive and
    ServerReady), since probes have none; `reflection`."""

    max_connections_per_key: int = Field(default=256, ge=0)
    """Connections that have calls of one API key open at once, at one Gateway replica; beyond it
    calls on further ones are refused with RESOURCE_EXHAUSTED. A connection without a call, which
    shows no key, is not counted. 0: no limit."""

    max_streams_per_connection: int = Field(default=1024, ge=1, le=2**31 - 1)
    """Calls that one connection has open at once; its client holds back further ones until one
    of them ends."""

    max_request_bytes: int = Field(default=4 * 2**20, ge=1024, le=2**31 - 1)
    """Largest message that is received; gRPC refuses a larger one with RESOURCE_EXHAUSTED."""

    log_prompts: bool = False
    """Whether the request log has `prompt` and `negative_prompt`. They are users' data: without
    it they stand nowhere but in the image files themselves."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_private_key is None):
            raise ValueError("tls_certificate and tls_private_key are set both, or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_private_key")
        return self
