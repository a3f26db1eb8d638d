"""docs/runbook.md: the chart takes every value that Helm is given there."""

import subprocess
from pathlib import Path

import pytest
import yaml
from support.charts.helm import NoHelmError, find_helm
from support.runbook import PAGE, calls_of

ROOT = Path(__file__).resolve().parents[2]
TEXT = PAGE.read_text(encoding="utf-8")


def rendered(call: list[str], values: Path) -> str:
    """Return what Helm says of an upgrade's values; "" where the chart takes them."""
    try:
        helm = find_helm()
    except NoHelmError as error:
        pytest.skip(str(error))
    words = [str(values) if word == "values.yaml" else word for word in call]
    only_upgrades = {"--dry-run=server", "--force-conflicts", "--hide-notes"}
    words = [word for word in words[1:] if word not in only_upgrades]
    result = subprocess.run(
        [helm, "template", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return result.stderr if result.returncode else ""


PRODUCTION = ROOT / "k8s" / "manifests" / "production" / "values.yaml"


def test_the_chart_takes_every_value_that_helm_is_given() -> None:
    calls = [call for call in calls_of("helm") if call[0] == "upgrade" and call[1] == "leyden"]
    calls += [
        ["upgrade", *call[2:]] for call in calls_of("helm") if call[:2] == ["upgrade", "--install"]
    ]
    calls = [call for call in calls if "k8s/charts/leyden" in call]

    assert len(calls) >= 5
    assert {" ".join(call): said for call in calls if (said := rendered(call, PRODUCTION))} == {}


@pytest.mark.parametrize(
    "wrong", ["config.denoiser.max_replica=12", "workerGroups[2].maxPod=3", "image.cpuTagg=a"]
)
def test_a_value_that_the_chart_has_not_is_found(wrong: str) -> None:
    call = ["upgrade", "leyden", "k8s/charts/leyden", "--values", "values.yaml", "--set", wrong]

    assert wrong.partition("=")[0].rpartition(".")[2] in rendered(call, PRODUCTION)


def test_the_group_that_is_patched_is_the_denoisers() -> None:
    values = yaml.safe_load(PRODUCTION.read_text(encoding="utf-8"))

    assert "/spec/workerGroupSpecs/2/maxReplicas" in TEXT
    assert values["workerGroups"][2]["hosts"] == ["denoiser"]
