"""What the Gateways of one server know each other by: a certificate that they alone have.

A Gateway listens for the others at a port of its own, which must not be a way past the door: only
who shows this certificate gets a connection there, and all of it is encrypted. Each server makes
one when it is started, and hands it to its Gateways; nothing is written to a disk.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

__all__ = ["PEER_NAME", "PeerIdentity"]

PEER_NAME = "gateway.leyden.internal"

VALID_FOR = timedelta(days=36500)
"""As long as any server runs: the certificate dies with it."""

CLOCKS_APART = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A certificate that is its own authority, and its key; as PEM."""

    certificate: bytes
    private_key: bytes = field(repr=False)

    @classmethod
    def new(cls) -> "PeerIdentity":
        """Return one that nobody else has."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PEER_NAME)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCKS_APART)
            .not_valid_after(now + VALID_FOR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(PEER_NAME)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return what a Gateway listens with for the others."""
        return grpc.ssl_server_credentials(
            [(self.private_key, self.certificate)],
            root_certificates=self.certificate,
            require_client_auth=True,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what a Gateway calls the others with; they are all called PEER_NAME."""
        return grpc.ssl_channel_credentials(self.certificate, self.private_key, self.certificate)
