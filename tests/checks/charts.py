"""Writes what is made of the Helm chart's sources, or checks that it is up to date.

python tests/checks/charts.py write
python tests/checks/charts.py check

Made are the chart's values.schema.json, the manifests of k8s/manifests and the table of values in
docs/kubernetes.md.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Run as a script, this file's folder is on the path, and not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.charts import presets, values_schema
from support.charts.helm import NoHelmError

__all__ = ["BEGIN", "CURE", "END", "PAGE", "made"]

PAGE = presets.ROOT / "docs" / "kubernetes.md"
BEGIN = "<!-- The table of values is written by tests/checks/charts.py. -->\n\n"
END = "<!-- End of the table. -->"
CURE = "Cure: python tests/checks/charts.py write"


def made() -> dict[Path, Callable[[], str]]:
    """Returns each file that is made, and what makes its text; manifests need Helm."""
    files: dict[Path, Callable[[], str]] = {
        presets.CHART / "values.schema.json": values_schema.schema_text,
        PAGE: _page,
    }
    for preset in presets.PRESETS:
        files[presets.committed(preset)] = partial(presets.render, preset)
    return files


def _page() -> str:
    """Returns the page with its table replaced."""
    text = PAGE.read_text(encoding="utf-8")
    before, begins, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not begins or not ends:
        raise ValueError(f"docs/kubernetes.md lacks {BEGIN.strip()} or {END} after it")
    return f"{before}{begins}{values_schema.table()}{ends}{after}"


def main() -> int:
    """Runs the command line; 1 where something is stale."""
    parser = argparse.ArgumentParser(description="What is made of the Helm chart's sources.")
    parser.add_argument("action", choices=["write", "check"])
    action = parser.parse_args().action
    stale = []
    for file, make in made().items():
        try:
            text = make()
        except NoHelmError as error:
            print(f"left out {file.name}: {error}", file=sys.stderr)
            continue
        if action == "write":
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(file.relative_to(presets.ROOT))
    for file in stale:
        print(f"{file} is not what its sources make. {CURE}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
