"""Servers that are well, and that are not, before a Prometheus."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event

from cluster.monitoring import load
from cluster.monitoring.alerts import check_alert, check_quiet, check_rules_evaluate
from cluster.monitoring.one_request import check_one_request
from cluster.monitoring.panels import check_panels
from cluster.monitoring.prometheus import Prometheus
from cluster.monitoring.server import Server, serving
from cluster.monitoring.stages import replica_of
from cluster.monitoring.waiting import wait_for
from cluster.report import Report
from support.certificates import Authority
from support.trace_collector import collecting

from leyden_client import Client
from leyden_client.security import TlsConfig

__all__ = ["in_one_process", "over_ray"]

MODEL = "leyden-tiny-base"
NO_GPU = {"leyden_gpu_memory_bytes": "no stage runs on a GPU"}
NO_TLS = {"leyden_certificate_expiry_timestamp_seconds": "the server has no TLS"}

BENCHED = 24
"""Requests of a load, of 4 steps each; the tiny model makes a few a second on two cores."""


def in_one_process(prometheus: Prometheus, folder: Path, report: Report) -> None:
    """A server with TLS and traces: well, then overloaded, its certificate old, draining, gone."""
    authority, ca = Authority(), folder / "ca.pem"
    certificate, key = folder / "cert.pem", folder / "key.pem"
    ca.write_bytes(authority.certificate)
    authority.issue(ends=timedelta(days=90)).write(certificate, key)
    with collecting() as collector:
        gateway = {
            "port": 0,
            "tls_certificate": str(certificate),
            "tls_private_key": str(key),
            "trace_endpoint": collector.endpoint,
            "max_waiting_images": 8,
            "drain_timeout_s": 3600,
        }
        config = {"models": [MODEL], "in_process": True, "gateway": gateway}
        report.say("starting leyden serve --in-process, with TLS and traces")
        with serving(config, folder, "in-process") as server, _client(server, ca) as client:
            prometheus.scrape(server.page)
            _well(prometheus, server, report, ca=str(ca))
            load.clients_mistakes(client)
            check_one_request(client, server, collector, prometheus, report)
            check_quiet(prometheus, report, "after clients' mistakes")
            check_panels(prometheus, report, NO_GPU)

            authority.issue(ends=timedelta(days=1)).write(certificate, key)
            check_alert(prometheus, report, "LeydenCertificateExpires", "a certificate of a day")
            _overloaded(prometheus, client, report)
            with load.held_open(client):
                server.program.process.send_signal(signal.SIGTERM)
                check_alert(prometheus, report, "LeydenDrainDoesNotEnd", "a drain that goes on")
        check_alert(prometheus, report, "LeydenNoGateway", "the server has ended")
    prometheus.scrape()
    check_alert(prometheus, report, "LeydenTargetAbsent", "no server is known")


def over_ray(prometheus: Prometheus, folder: Path, report: Report) -> None:
    """A server with Ray and traces: well, then its denoiser dies."""
    with collecting() as collector:
        gateway = {"port": 0, "trace_endpoint": collector.endpoint}
        report.say("starting leyden serve, with Ray")
        with (
            serving({"models": [MODEL], "gateway": gateway}, folder, "over-ray") as server,
            Client(server.address) as client,
        ):
            prometheus.scrape(server.page)
            prometheus.settle()
            load.bench(server, clients=4, requests=BENCHED)
            check_rules_evaluate(prometheus, report, "over Ray")
            check_quiet(prometheus, report, "over Ray under load")
            load.clients_mistakes(client)
            check_one_request(client, server, collector, prometheus, report)
            check_quiet(prometheus, report, "over Ray after clients' mistakes")
            check_panels(prometheus, report, NO_GPU | NO_TLS)
            replica_of(server.program, "denoiser").kill()
            check_alert(prometheus, report, "LeydenStageGone", "the denoiser's replica is killed")
            wait_for("the alert's end", lambda: "LeydenStageGone" not in prometheus.firing())
            report.holds("LeydenStageGone ends when Serve has started another")


def _well(prometheus: Prometheus, server: Server, report: Report, *, ca: str) -> None:
    prometheus.settle()
    prometheus.wait_for_evaluations(5)
    check_quiet(prometheus, report, "idle")
    report.say(f"leyden bench: {BENCHED} requests")
    load.bench(server, clients=4, requests=BENCHED, ca=ca)
    check_rules_evaluate(prometheus, report, "under load")
    check_quiet(prometheus, report, "under load")


def _overloaded(prometheus: Prometheus, client: Client, report: Report) -> None:
    wanted = {"LeydenRefuses", "LeydenErrorBudgetBurnsFast", "LeydenErrorBudgetBurns"}
    report.say("asking for more than may wait")
    load.overload(client, Event(), lambda: wanted <= set(prometheus.firing()))
    for name in sorted(wanted):
        check_alert(prometheus, report, name, "more is asked than may wait")


@contextmanager
def _client(server: Server, ca: Path) -> Iterator[Client]:
    with Client(server.address, tls=TlsConfig(root_certificates=ca)) as client:
        yield client
