"""The dashboard's panels, asked of a Prometheus as Grafana would."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from checks.monitoring import RULES
from cluster.monitoring.prometheus import Prometheus
from cluster.report import Report

__all__ = ["check_panels"]

VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*", "$job": ".*", "$model": ".*"}


def graphs() -> Iterator[tuple[str, list[str]]]:
    """Yield each graph's title and queries."""
    dashboard: Mapping[str, Any] = json.loads(
        (RULES.parent / "dashboard.json").read_text(encoding="utf-8")
    )
    for shown in dashboard["panels"]:
        for panel in (shown, *shown.get("panels", [])):
            if panel["type"] == "timeseries":
                yield panel["title"], [target["expr"] for target in panel["targets"]]


def check_panels(prometheus: Prometheus, report: Report, may_be_empty: Mapping[str, str]) -> None:
    """Ask every query of every panel: each is to return at least one number.

    `may_be_empty` has the metrics that this server does not show, and why.
    """
    asked, empty, excused = 0, [], set()
    for title, queries in graphs():
        for query in queries:
            asked += 1
            expr = re.sub(r"\$\w+", lambda match: VARIABLES[match[0]], query)
            if any(math.isfinite(value) for _, value in prometheus.query(expr)):
                continue
            why = next((why for name, why in may_be_empty.items() if name in query), "")
            excused |= {f"{title} ({why})"} if why else set()
            empty += [] if why else [f"{title}: {expr}"]
    if empty:
        report.fails("every panel has data", f"{len(empty)} have none: {'; '.join(empty)}")
    else:
        without = f", without data: {', '.join(sorted(excused))}" if excused else ""
        report.holds("every panel has data", f"{asked} queries{without}")
