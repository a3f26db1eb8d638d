"""Asks the health service of this pod's own Gateway over TLS, as no probe of the kubelet can.

`python -m leyden_server.gateway.probe --service leyden.live --certificate FILE` ends with 0 where
the answer is SERVING, and with 1 and one line where it is not.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["main"]

TIMEOUT_S = 8.0
"""Below the timeout of the chart's probes, so that the line is seen."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m leyden_server.gateway.probe")
    parser.add_argument("--service", default="", help="health service; empty: the whole server")
    parser.add_argument("--port", type=int, default=8001, help="on 127.0.0.1 (8001)")
    parser.add_argument("--certificate", type=Path, required=True, help="the server's own, as PEM")
    parser.add_argument(
        "--private-key",
        type=Path,
        help="its key, where the server wants certificates of clients: its own is shown",
    )
    args = parser.parse_args(argv)
    try:
        status = _ask(args.service, args.port, args.certificate, args.private_key)
    except (OSError, ValueError) as error:
        print(f"{args.certificate}: {error}", file=sys.stderr)
        return 1
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    if status != health_pb2.HealthCheckResponse.SERVING:
        print(health_pb2.HealthCheckResponse.ServingStatus.Name(status), file=sys.stderr)
        return 1
    return 0


def _ask(service: str, port: int, certificate: Path, private_key: Path | None) -> int:
    chain = certificate.read_bytes()
    credentials = grpc.ssl_channel_credentials(
        # What the server has is what it is known by, whoever signed it.
        root_certificates=chain,
        private_key=None if private_key is None else private_key.read_bytes(),
        certificate_chain=None if private_key is None else chain,
    )
    options = [("grpc.ssl_target_name_override", _name(chain)), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
        return int(answer.status)


def _name(chain: bytes) -> str:
    """Return a name that the certificate is for: the pod is reached by its own address."""
    leaf = x509.load_pem_x509_certificate(chain)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("no subjectAltName") from None
    for name in names.get_values_for_type(x509.DNSName):
        return name.replace("*", "probe", 1)
    for address in names.get_values_for_type(x509.IPAddress):
        return str(address)
    raise ValueError("its subjectAltName has neither a DNS name nor an address")


if __name__ == "__main__":
    sys.exit(main())
