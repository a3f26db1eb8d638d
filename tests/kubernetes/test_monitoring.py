"""Rules and dashboard name what there is, are up to date, and do what their unit tests say."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checks import panels
from checks.monitoring import ROOT, RULES, RUNBOOK, UNIT_TESTS, made
from checks.monitoring_rules import (
    SERIES,
    alerts_of,
    recorded_by,
    rule_faults,
    unit_test_faults,
    unknown_in,
)
from support.patience import PATIENCE_S

RULES_TEXT = RULES.read_text(encoding="utf-8")
TESTS_TEXT = UNIT_TESTS.read_text(encoding="utf-8")
ANCHORS = {
    heading.lower()
    for heading in re.findall(r"^#+ (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
}

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: prometheus)")


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("path", made(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_made_of_other_files_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == made()[path], (
        "python tests/checks/monitoring.py write"
    )


def test_every_rule_is_fit_for_who_is_woken_by_it() -> None:
    assert rule_faults(RULES_TEXT, ANCHORS) == []
    assert len(alerts_of(RULES_TEXT)) >= 20


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("(leyden_images_waiting)", "(leyden_image_waiting)", "leyden_image_waiting is in no"),
        ("expr: model:leyden_requests_failed:rate5m /", "expr: model:x:rate5m /", "model:x:rate5m"),
        ("severity: critical", "severity: urgent", "severity is to be one of critical, warning"),
        ("summary: No Gateway of Leyden answers", "summary: ''", "has no summary"),
        ("(absent: {{ $value | humanize }})", "", "does not tell the value"),
        ("runbook.md#leydenstagegone", "runbook.md#gone", "docs/runbook.md#leydenstagegone"),
        ("alert: LeydenStageGone", "alert: LeydenGone", "has no section of that name"),
        ("alert: LeydenStageGone", "alert: LeydenDefects", "LeydenDefects: stands twice"),
    ],
)
def test_a_rule_that_is_not_is_found(right: str, wrong: str, fault: str) -> None:
    assert right in RULES_TEXT
    faults = rule_faults(RULES_TEXT.replace(right, wrong), ANCHORS)
    assert any(fault in one for one in faults), faults


def test_every_alert_has_unit_tests_both_ways() -> None:
    assert unit_test_faults(RULES_TEXT, TESTS_TEXT) == []
    without = TESTS_TEXT.replace("exp_alerts: []", "exp_alerts: [{}]")
    assert len(unit_test_faults(RULES_TEXT, without)) == len(alerts_of(RULES_TEXT))
    unknown = TESTS_TEXT.replace("alertname: LeydenDefects", "alertname: LeydenNothing")
    assert len(unit_test_faults(RULES_TEXT, unknown)) == 2


def test_every_panel_asks_for_what_there_is() -> None:
    dashboard = json.loads((RULES.parent / "dashboard.json").read_text(encoding="utf-8"))
    graphs = [
        panel
        for shown in dashboard["panels"]
        for panel in (shown, *shown.get("panels", []))
        if panel["type"] == "timeseries"
    ]
    queries = [target["expr"] for graph in graphs for target in graph["targets"]]
    recorded = recorded_by(RULES_TEXT)

    assert {
        query: unknown_in(query, recorded) for query in queries if unknown_in(query, recorded)
    } == {}
    asked = " ".join(queries)
    assert [
        name for name in SERIES if not name.endswith(("_sum", "_count")) and name not in asked
    ] == []
    assert all(graph["description"] for graph in graphs)
    assert unknown_in("sum(rate(leyden_imags_total[5m]))", recorded) == {"leyden_imags_total"}


def test_a_metric_without_a_place_on_the_dashboard_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "TABLE", panels.TABLE[1:])
    with pytest.raises(ValueError, match="nv_inference_pending_request_count stands 0 times"):
        list(panels.rows())


@needs_promtool
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    assert promtool("check", "rules", RULES).returncode == 0
    broken = tmp_path / "rules.yaml"
    broken.write_text(RULES_TEXT.replace("histogram_quantile(0.95, ", "histogram_quantile("))
    assert promtool("check", "rules", broken).returncode == 1


@needs_promtool
def test_every_alert_fires_when_it_should_and_not_when_not() -> None:
    tested = promtool("test", "rules", UNIT_TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr
