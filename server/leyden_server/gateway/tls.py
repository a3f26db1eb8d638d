"""The server's certificate, its key, and whose clients are let in: checked as they are read.

gRPC takes any bytes, and then refuses every handshake without a word of why.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from leyden_server.door_config import DoorConfig
from leyden_server.errors import ConfigError
from leyden_server.watched_files import WatchedFiles

__all__ = ["Certificate", "ServerTls", "check_tls_files"]

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
LEAST_RSA_BITS = 1024
KEYS_TAKEN = (
    f"gRPC takes RSA keys of {LEAST_RSA_BITS} bits or more and elliptic curve keys on P-256, P-384 "
    "and P-521, and this is another"
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that fits its key and is valid now, as PEM."""

    chain: bytes
    private_key: bytes
    client_ca: bytes | None
    """None: clients show no certificate."""
    expires: datetime

    @classmethod
    def load(cls, config: DoorConfig) -> "Certificate":
        """Read the files that the settings name.

        Raises:
            ConfigError: one is not what it should be; the text names setting and file.

        """
        assert config.tls_certificate is not None
        assert config.tls_private_key is not None
        where = f"gateway.tls_certificate: {config.tls_certificate}"
        key_where = f"gateway.tls_private_key: {config.tls_private_key}"
        certificates = _certificates(_read(config.tls_certificate, where), where)
        key = _private_key(_read(config.tls_private_key, key_where), key_where)
        if not _is_of(key, certificates[0]):
            raise ConfigError(
                f"{key_where}: is not the key of the first certificate in {config.tls_certificate}"
            )
        client_ca = None
        if config.tls_client_ca is not None:
            ca_where = f"gateway.tls_client_ca: {config.tls_client_ca}"
            client_ca = _written(_certificates(_read(config.tls_client_ca, ca_where), ca_where))
        expires = min(certificate.not_valid_after_utc for certificate in certificates)
        # Written anew: what stands around the PEM in a file, a byte order mark say, is read here
        # and not by gRPC.
        private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(_written(certificates), private_key, client_ca, expires)


def check_tls_files(config: DoorConfig) -> None:
    """Raise ConfigError where TLS is on and a file of it is not what it should be."""
    if config.tls_certificate is not None:
        Certificate.load(config)


class ServerTls:
    """The certificate of a server that runs: who connects gets the one that was read last."""

    def __init__(self, config: DoorConfig) -> None:
        """Read it for the first time.

        Raises:
            ConfigError: a file is not what it should be.

        """
        self._config = config
        paths = (config.tls_certificate, config.tls_private_key, config.tls_client_ca)
        self.files = WatchedFiles(path for path in paths if path is not None)
        self._certificate = Certificate.load(config)
        self._latest = self._configuration()
        self._given = self._latest
        self._https: ssl.SSLContext | None = None

    @property
    def expires(self) -> datetime:
        """When the first certificate of those that were read last expires."""
        return self._certificate.expires

    def https(self) -> ssl.SSLContext:
        """Return what an HTTP server listens with; each handshake gets what was read last.

        Raises:
            ConfigError: OpenSSL does not take a file.

        """
        listening = self._https_context()
        self._https = self._https_context()

        def choose(handshake: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
            assert self._https is not None
            handshake.context = self._https

        listening.sni_callback = choose  # asked without SNI too
        return listening

    def credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC listens with; it asks at each handshake whether there is another."""
        requires_client = self._certificate.client_ca is not None
        make: Callable[..., grpc.ServerCredentials] = grpc.dynamic_ssl_server_credentials
        return make(self._given, self._another, requires_client)

    def reload(self) -> str:
        """Read the files again and return what there is to say of it.

        Raises:
            ConfigError: one is not what it should be. The certificate is that of before then.

        """
        self._certificate = Certificate.load(self._config)
        self._latest = self._configuration()
        if self._https is not None:
            self._https = self._https_context()
        certificate, until = self._config.tls_certificate, self._certificate.expires
        return f"gateway.tls_certificate: {certificate}: read again, good until {until}"

    def _configuration(self) -> object:
        certificate = self._certificate
        return grpc.ssl_server_certificate_configuration(
            [(certificate.private_key, certificate.chain)],
            root_certificates=certificate.client_ca,
        )

    def _https_context(self) -> ssl.SSLContext:
        config = self._config
        assert config.tls_certificate is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Of files alone, which have just been read.
            context.load_cert_chain(config.tls_certificate, config.tls_private_key)
            if self._certificate.client_ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(cadata=self._certificate.client_ca.decode("ascii"))
        except (OSError, ValueError) as error:  # ssl.SSLError among them
            where = f"gateway.tls_certificate: {config.tls_certificate}"
            raise ConfigError(f"{where}: OpenSSL does not take it for HTTPS: {error}") from error
        return context

    def _another(self) -> object | None:
        """Return a newer certificate for the handshake that begins; called in gRPC's threads."""
        if self._latest is self._given:
            return None
        self._given = self._latest
        return self._given


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error


def _certificates(pem: bytes, where: str) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigError(f"{where}: holds no certificate in PEM") from None
    now = datetime.now(UTC)
    for certificate in certificates:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        name = certificate.subject.rfc4514_string() or "a certificate without a name"
        if now > ends:
            raise ConfigError(f"{where}: {name} has expired at {ends.isoformat()}")
        if now < begins:
            raise ConfigError(f"{where}: {name} is not valid before {begins.isoformat()}")
    return certificates


def _private_key(pem: bytes, where: str) -> PrivateKey:
    """Read a key that gRPC can use. No text quotes the file."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigError(
            f"{where}: has a password, which nobody could type when it is read again; "
            "write it without: openssl pkey -in KEY -out NEW_KEY"
        ) from None
    except ValueError:
        raise ConfigError(f"{where}: holds no private key in PEM") from None
    except UnsupportedAlgorithm:
        raise ConfigError(f"{where}: {KEYS_TAKEN}") from None
    is_rsa = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= LEAST_RSA_BITS
    is_ec = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES)
    if not (is_rsa or is_ec):
        raise ConfigError(f"{where}: {KEYS_TAKEN}")
    assert isinstance(key, PrivateKey)
    return key


def _is_of(key: PrivateKey, certificate: x509.Certificate) -> bool:
    try:
        return key.public_key() == certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return False  # of a kind that the key is not


def _written(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
