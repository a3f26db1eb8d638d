"""Alerts that fire where something was provoked, and no others."""

import re
from collections.abc import Mapping
from typing import Any

from cluster.monitoring.prometheus import Prometheus
from cluster.report import Report

__all__ = ["check_alert", "check_quiet", "check_rules_evaluate"]


def check_rules_evaluate(prometheus: Prometheus, report: Report, when: str) -> None:
    """Check that Prometheus has evaluated every rule without an error."""
    prometheus.wait_for_evaluations()
    rules = prometheus.rules()
    wrong = {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"}
    note = report.fails if wrong else report.holds
    note(f"every rule is evaluated, {when}", str(wrong) if wrong else f"{len(rules)} rules")


def check_quiet(prometheus: Prometheus, report: Report, when: str) -> None:
    """Check that no alert has fired since Prometheus has settled."""
    prometheus.wait_for_evaluations()
    fired = prometheus.have_fired()
    note = report.fails if fired else report.holds
    note(f"no alert fires, {when}", ", ".join(sorted(fired)))


def check_alert(prometheus: Prometheus, report: Report, name: str, fault: str) -> None:
    """Check that an alert fires, and that its text says what, with a number."""
    alert: Mapping[str, Any] = prometheus.wait_for_alert(name)
    text = alert["annotations"]["description"]
    complete = re.search(r"\d", text) and not re.search(r"error|<no value>|\{\{|NaN|Inf", text)
    (report.holds if complete else report.fails)(f"{fault}: {name} fires", text)
