"""The rules' unit tests, and whether they notice rules that are wrong."""

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from checks.monitoring import RULES, UNIT_TESTS
from checks.monitoring_rules import alerts_of
from cluster.report import Report
from support.patience import PATIENCE_S

__all__ = ["check_rules"]


def check_rules(folder: Path, report: Report) -> None:
    """Check the rules and run their tests; then with alerts that never fire, and that always do."""
    checked = _promtool("check", "rules", str(RULES))
    note = report.fails if checked.returncode else report.holds
    note("promtool check rules", (checked.stdout + checked.stderr).partition("\n")[2])
    tested = _promtool("test", "rules", str(UNIT_TESTS))
    note = report.fails if tested.returncode else report.holds
    cases = yaml.safe_load(UNIT_TESTS.read_text("utf-8"))["tests"]
    note("promtool test rules", tested.stdout if tested.returncode else f"{len(cases)} cases")

    alerts = {rule["alert"] for rule in alerts_of(RULES.read_text("utf-8"))}
    for name, spoil in (("never fires", _never), ("always fires", _always)):
        unnoticed = alerts - _noticed(spoil, folder)
        note = report.fails if unnoticed else report.holds
        seen = f"not noticed: {unnoticed}" if unnoticed else f"noticed for all {len(alerts)}"
        note(f"unit tests notice an alert that {name}", seen)


def _never(rule: dict[str, Any]) -> None:
    rule["expr"] = f"({rule['expr']}) and on () vector(1) < 0"


def _always(rule: dict[str, Any]) -> None:
    rule["expr"] = "vector(1)"
    rule.pop("for", None)


def _noticed(spoil: Callable[[dict[str, Any]], None], folder: Path) -> set[str]:
    """Return the alerts whose tests fail when every alert is spoilt."""
    rules: Mapping[str, Any] = yaml.safe_load(RULES.read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                spoil(rule)
    spoilt = folder / "spoilt"
    spoilt.mkdir(exist_ok=True)
    (spoilt / "rules.yaml").write_text(yaml.safe_dump(dict(rules)), "utf-8")
    tests = spoilt / UNIT_TESTS.name
    tests.write_text(UNIT_TESTS.read_text("utf-8"), "utf-8")
    tested = _promtool("test", "rules", str(tests))
    return set(re.findall(r"alertname: (\w+),", tested.stdout + tested.stderr))


def _promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
