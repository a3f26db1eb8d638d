"""The sizes that manifests are rendered for, and where everything of the chart is."""

from pathlib import Path

from support.charts import helm

__all__ = ["CHART", "PRESETS", "committed", "render", "values_of"]

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "k8s" / "charts" / "leyden"
MANIFESTS = ROOT / "k8s" / "manifests"
PRESETS = ("dev", "single-gpu", "production")

HEAD = """\
# Rendered from ../../charts/leyden with the values.yaml beside it; do not edit.
# Again: python tests/checks/charts.py write
"""


def values_of(preset: str) -> Path:
    """Returns the file of a preset's values."""
    return MANIFESTS / preset / "values.yaml"


def committed(preset: str) -> Path:
    """Returns the file of its manifests."""
    return MANIFESTS / preset / "manifests.yaml"


def render(preset: str) -> str:
    """Returns its manifests as the chart is now.

    Raises:
        NoHelmError: there is no Helm.
        Refused: the values are wrong.

    """
    return HEAD + helm.template(CHART, values_of(preset))
