"""How a client makes sure of the server, and who it says that it is."""

from dataclasses import dataclass, field
from os import PathLike
from typing import TypeAlias

__all__ = ["Pem", "TlsConfig"]

Pem: TypeAlias = bytes | str | PathLike[str]
"""A PEM as bytes, or the path of its file."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """What TLS takes beside `tls=True`; each is a PEM as bytes, or the path of its file."""

    root_certificates: Pem | None = None
    """Whom to believe that the server is who it says; None: gRPC's own list of public ones."""
    private_key: Pem | None = field(default=None, repr=False)
    """Where the server asks for a certificate (mutual TLS): the key of ours."""
    certificate_chain: Pem | None = None
    """Where the server asks for a certificate: ours, and those up to one that it believes."""

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise ValueError("private_key and certificate_chain are given both, or neither")
