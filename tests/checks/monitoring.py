"""Writes what is made of other files for k8s/monitoring and the chart, or checks that it is fresh.

python tests/checks/monitoring.py write
python tests/checks/monitoring.py check

The dashboard comes from the table of metrics. The chart has copies of it and of the rules: Helm
reads no file outside a chart.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from checks.dashboard import dashboard_json  # noqa: E402 - found by the line above

__all__ = ["RULES", "RUNBOOK", "UNIT_TESTS", "made"]

MONITORING = ROOT / "k8s" / "monitoring"
OF_THE_CHART = ROOT / "k8s" / "charts" / "leyden" / "files"
RULES = MONITORING / "rules.yaml"
UNIT_TESTS = MONITORING / "rules_test.yaml"
RUNBOOK = ROOT / "docs" / "runbook.md"


def made() -> Mapping[Path, str]:
    """Return what each made file is to hold."""
    dashboard = dashboard_json()
    return {
        MONITORING / "dashboard.json": dashboard,
        OF_THE_CHART / "dashboard.json": dashboard,
        OF_THE_CHART / "rules.yaml": RULES.read_text(encoding="utf-8"),
    }


def main() -> int:
    """Run the command line; 1 where a file is stale."""
    parser = argparse.ArgumentParser(description="The dashboard, and the chart's copies.")
    parser.add_argument("action", choices=["write", "check"])
    action = parser.parse_args().action
    stale = False
    for path, text in made().items():
        if action == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(f"{path.relative_to(ROOT)} is stale", file=sys.stderr)
            stale = True
    if stale:
        print("Cure: python tests/checks/monitoring.py write", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
