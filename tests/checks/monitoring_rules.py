"""What is wrong with alert rules that Prometheus itself would take."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from leyden_server.metrics.table import METRICS

__all__ = ["SERIES", "alerts_of", "recorded_by", "rule_faults", "unit_test_faults", "unknown_in"]

SEVERITIES = ("critical", "warning")

SERIES = frozenset(
    f"{metric.name}{end}"
    for metric in METRICS
    for end in (("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",))
)
"""What is on a page."""

OF_PROMETHEUS = frozenset({"up", "ALERTS"})

NAME = re.compile(r"(?<![\w:$.])[a-zA-Z_][\w:]*")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
LABELS = re.compile(
    r"\{[^}]*\}|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^\]]*\]"
)
WORDS = frozenset(
    {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "offset"}
    | {"sum", "min", "max", "count", "avg", "rate", "increase", "resets", "absent", "time"}
    | {"clamp_min", "histogram_quantile", "label_replace"}
)
"""Of PromQL, as far as it is used here."""


def unknown_in(expr: str, recorded: frozenset[str]) -> set[str]:
    """Return names in a query that are no metric, no recorded series and no word of PromQL."""
    bare = LABELS.sub(" ", STRING.sub('""', expr))
    return set(NAME.findall(bare)) - SERIES - OF_PROMETHEUS - recorded - WORDS


def _rules(text: str) -> Iterator[Mapping[str, Any]]:
    for group in yaml.safe_load(text)["groups"]:
        yield from group["rules"]


def alerts_of(text: str) -> list[Mapping[str, Any]]:
    """Return the alerts of a rule file."""
    return [rule for rule in _rules(text) if "alert" in rule]


def recorded_by(text: str) -> frozenset[str]:
    """Return what a rule file records."""
    return frozenset(rule["record"] for rule in _rules(text) if "record" in rule)


def rule_faults(text: str, anchors: set[str]) -> list[str]:
    """Return what is wrong with a rule file; `anchors` are the runbook's."""
    recorded, faults = recorded_by(text), []
    for rule in _rules(text):
        name = rule.get("alert") or rule["record"]
        unknown = sorted(unknown_in(rule["expr"], recorded))
        faults += [f"{name}: {series} is in no table of metrics" for series in unknown]
        if "alert" in rule:
            faults += [f"{name}: {fault}" for fault in _alert_faults(rule, anchors)]
    names = [rule.get("alert") or rule["record"] for rule in _rules(text)]
    faults += [f"{name}: stands twice" for name in set(names) if names.count(name) > 1]
    return faults


def _alert_faults(alert: Mapping[str, Any], anchors: set[str]) -> Iterator[str]:
    annotations = alert.get("annotations", {})
    if alert.get("labels", {}).get("severity") not in SEVERITIES:
        yield f"severity is to be one of {', '.join(SEVERITIES)}"
    if not annotations.get("summary"):
        yield "has no summary"
    if "$value" not in annotations.get("description", ""):
        yield "its description does not tell the value"
    anchor = alert["alert"].lower()
    if annotations.get("runbook_url") != f"docs/runbook.md#{anchor}":
        yield f"runbook_url is to be docs/runbook.md#{anchor}"
    if anchor not in anchors:
        yield "docs/runbook.md has no section of that name"


def unit_test_faults(rules: str, tests: str) -> list[str]:
    """Return which alerts lack a case in which they fire, or one in which they do not."""
    cases: Sequence[Mapping[str, Any]] = [
        case for test in yaml.safe_load(tests)["tests"] for case in test["alert_rule_test"]
    ]
    faults = []
    for alert in alerts_of(rules):
        fires = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == alert["alert"]}
        faults += [f"{alert['alert']}: no case in which it fires"] * (True not in fires)
        faults += [f"{alert['alert']}: no case in which it does not"] * (False not in fires)
    return faults
