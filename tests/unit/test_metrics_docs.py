"""docs/metrics.md and the table of metrics say the same, and say it well."""

import re

import pytest
from checks.metrics_table import DOCUMENT, document

from leyden_server.metrics.metric import Metric
from leyden_server.metrics.table import METRICS

PAGE = DOCUMENT.read_text(encoding="utf-8")
NAMES = {metric.name for metric in METRICS}
OF_HISTOGRAMS = {
    f"{metric.name}_{end}"
    for metric in METRICS
    if metric.kind == "histogram"
    for end in ("bucket", "count", "sum")
}


def test_the_tables_are_up_to_date() -> None:
    assert document(PAGE) == PAGE, "python tests/checks/metrics_table.py write"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_has_it(metric: Metric) -> None:
    assert re.fullmatch(r"(nv_inference|leyden)_[a-z_]+[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
    assert metric.use
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert not metric.help.endswith(".")


def test_no_name_is_given_twice() -> None:
    assert len(NAMES) == len(METRICS)


def test_every_name_that_the_page_uses_there_is() -> None:
    used = set(re.findall(r"\b(?:nv_inference|leyden)_\w+", PAGE))
    assert used >= NAMES
    assert used <= NAMES | OF_HISTOGRAMS
