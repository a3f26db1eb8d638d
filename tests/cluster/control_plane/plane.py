"""etcd, the API server, the scheduler and the controllers, on loopback."""

import csv
import json
import secrets
import socket
import ssl
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from cluster.control_plane.builds import PROGRAMS
from cluster.control_plane.daemons import Daemons, until
from cluster.report import Report
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

__all__ = ["Plane", "free_ports"]

ISSUER = "https://kubernetes.default.svc"
SERVICES = "10.96.0.0/16"
NEVER_DIALLED = "192.0.2.1"
"""The address the API server would advertise, had it to: of a net kept for documentation."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nothing listens on now."""
    with ExitStack() as open_together:
        sockets = [open_together.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Plane:
    """A control plane without a single node."""

    def __init__(self, folder: Path, daemons: Daemons) -> None:
        self._folder = folder
        self._daemons = daemons
        self._etcd, self._peer, self._port = free_ports(3)
        self._admin_token = secrets.token_hex(16)
        self.kubeconfig = folder / "admin.kubeconfig"

    @property
    def server(self) -> str:
        """Return where the API server listens."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def authority(self) -> Path:
        """Return the certificate that the API server made itself."""
        return self._folder / "certificates/apiserver.crt"

    def start(self, report: Report) -> None:
        """Start all of it, and return when it answers."""
        report.say("starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler")
        self._start_etcd()
        self._start_api_server()
        self.write_kubeconfig(self.kubeconfig, self._admin_token)
        self._start_controllers()

    def write_kubeconfig(self, file: Path, token: str, namespace: str = "default") -> None:
        """Write what a client with a token needs."""
        cluster = {"server": self.server, "certificate-authority": str(self.authority)}
        context = {"cluster": "plane", "user": "user", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "plane", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "plane", "context": context}],
            "current-context": "plane",
        }
        file.write_text(json.dumps(config), encoding="utf-8")
        file.chmod(0o600)

    def _start_etcd(self) -> None:
        url, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd, self._peer))
        self._daemons.start(
            "etcd",
            PROGRAMS["etcd"].file,
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # its data is thrown away
        )
        until("etcd is healthy", lambda: _answers(f"{url}/health"), self._daemons)

    def _start_api_server(self) -> None:
        signing_key = self._folder / "service-accounts.key"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        signing_key.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        tokens = self._folder / "tokens.csv"
        with tokens.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow((self._admin_token, "admin", "admin", "system:masters"))
        self._daemons.start(
            "kube-apiserver",
            PROGRAMS["kube-apiserver"].file,
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--advertise-address={NEVER_DIALLED}",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self._folder / 'certificates'}",
            f"--token-auth-file={tokens}",
            "--anonymous-auth=false",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={signing_key}",
            f"--service-account-signing-key-file={signing_key}",
            f"--service-cluster-ip-range={SERVICES}",
        )
        until("the API server is ready", self._is_ready, self._daemons)

    def _start_controllers(self) -> None:
        self._daemons.start(
            "kube-controller-manager",
            PROGRAMS["kube-controller-manager"].file,
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
            "--node-monitor-grace-period=24h",  # one node has nobody who says again that it lives
            f"--service-account-private-key-file={self._folder / 'service-accounts.key'}",
            f"--root-ca-file={self.authority}",
            f"--service-cluster-ip-range={SERVICES}",
        )
        self._daemons.start(
            "kube-scheduler",
            PROGRAMS["kube-scheduler"].file,
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )

    def _is_ready(self) -> bool:
        return self.authority.exists() and _answers(
            f"{self.server}/readyz", self._admin_token, self.authority
        )


def _answers(url: str, token: str = "", authority: Path | None = None) -> bool:
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    context = ssl.create_default_context(cafile=str(authority)) if authority else None
    try:
        with urllib.request.urlopen(request, timeout=5, context=context):
            return True
    except (urllib.error.URLError, OSError):
        return False
