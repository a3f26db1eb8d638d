"""What gRPC takes for TLS and an API key."""

import leyden_client._grpc_import  # noqa: F401 - before anything else imports gRPC

# isort: split
from pathlib import Path

import grpc

from leyden_client.security import Pem, TlsConfig


def channel_credentials(tls: bool | TlsConfig) -> grpc.ChannelCredentials | None:
    """Return gRPC's credentials; None: plaintext.

    Raises:
        OSError: a file cannot be read.
        ValueError: what should be a PEM is none.

    """
    if tls is False:
        return None
    config = TlsConfig() if tls is True else tls
    return grpc.ssl_channel_credentials(
        _pem("root_certificates", config.root_certificates),
        _pem("private_key", config.private_key),
        _pem("certificate_chain", config.certificate_chain),
    )


def authorization(api_key: str | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carry an API key.

    Raises:
        ValueError: no key can look like this. The text does not show it.

    """
    if api_key is None:
        return ()
    # gRPC would name the header's value in its error.
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("api_key must be one word of printable ASCII characters")
    return (("authorization", f"Bearer {api_key}"),)


def _pem(name: str, value: Pem | None) -> bytes | None:
    if value is None:
        return None
    data = value if isinstance(value, bytes) else Path(value).read_bytes()
    # gRPC takes anything, and fails at the first call with a text about the connection.
    if b"-----BEGIN " not in data:
        whence = "the bytes" if isinstance(value, bytes) else str(value)
        raise ValueError(f"{name}: {whence}: not a PEM, which has a line -----BEGIN ...-----")
    return data
